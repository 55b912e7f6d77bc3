import { cast, type Value } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { cast as castTensor, createRandom, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { stochasticRound } from "./stochastic-round.ts";

export interface Bfloat16StateOptions {
  /** Seed of the rounding; default 0. */
  readonly seed?: number | bigint;
  /** Slots that are kept in bfloat16; default the averages of gradients and of their squares, and momentum buffers. */
  readonly slots?: readonly string[];
}

const defaultSlots = ["exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg", "exp_avg_diff"];

/**
 * An optimizer whose averages are kept in bfloat16, half the memory: they are computed in float32 and rounded at random
 * with the mean unchanged, so that small increments are not lost as they are when rounding to the nearest. The random
 * numbers are an input of every step, keyed by seed, step and the state's name: the same on every machine.
 * On CPU: bfloat16 state has no WebGPU kernels. Throws `UNKNOWN_SLOT` where the optimizer keeps none of the slots.
 */
export function bfloat16State(optimizer: Optimizer, options: Bfloat16StateOptions = {}): Optimizer {
  const { seed = 0, slots = defaultSlots } = options;
  const isNarrow = (key: string) => slots.includes(key.slice(0, key.indexOf("/")));
  const shapes = new WeakMap<object, [string, readonly number[]][]>();
  const narrowShapes = (parameters: Readonly<Record<string, Tensor>>) => {
    const known = shapes.get(parameters);
    if (known !== undefined) return known;
    const found = Object.entries(optimizer.init(parameters))
      .filter(([key]) => isNarrow(key))
      .map(([key, { shape }]): [string, readonly number[]] => [key, shape]);
    shapes.set(parameters, found);
    return found;
  };
  const widened = (state: Readonly<Record<string, Value>>) =>
    Object.fromEntries(
      Object.entries(state).map(([key, value]) => [key, isNarrow(key) ? cast(value, "float32") : value]),
    );
  return {
    ...optimizer,
    name: `bfloat16State(${optimizer.name})`,
    init(parameters) {
      const state = Object.entries(optimizer.init(parameters));
      if (state.length > 0 && !state.some(([key]) => isNarrow(key))) throw unknownSlots(slots, state);
      return Object.fromEntries(
        state.map(([key, value]) => [key, isNarrow(key) ? castTensor(value, "bfloat16") : value]),
      );
    },
    inputs(step, parameters) {
      const random = createRandom(seed, "bfloat16State");
      const noise = narrowShapes(parameters).map(([key, shape]) => {
        const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
        random.child(key).child(String(step)).uniformsInto(values);
        return [`noise/${key}`, fromData("float32", values, shape)] as const;
      });
      return { ...optimizer.inputs?.(step, parameters), ...Object.fromEntries(noise) };
    },
    update(call) {
      const { inputs } = call;
      if (inputs === undefined) throw missingInputs();
      const result = optimizer.update({ ...call, state: widened(call.state) });
      const state = Object.entries(result.state).map(([key, value]) => [
        key,
        isNarrow(key) ? stochasticRound(value, inputs[`noise/${key}`]) : value,
      ]);
      return { parameters: result.parameters, state: Object.fromEntries(state) };
    },
    ...(optimizer.averaged && {
      averaged: (call: Parameters<NonNullable<Optimizer["averaged"]>>[0]) =>
        optimizer.averaged?.({ ...call, state: widened(call.state) }) ?? call.parameters,
    }),
  };
}

function unknownSlots(slots: readonly string[], state: readonly (readonly [string, Tensor])[]): LoomweightError {
  return new LoomweightError({
    code: "UNKNOWN_SLOT",
    problem: "bfloat16State: the optimizer keeps none of these slots",
    option: "bfloat16State.slots",
    expected: `some of ${[...new Set(state.map(([key]) => key.slice(0, key.indexOf("/"))))].join(", ")}`,
    found: slots.join(", "),
  });
}

function missingInputs(): LoomweightError {
  return new LoomweightError({
    code: "MISSING_INPUT",
    problem: "bfloat16State: the step has no random numbers",
    fix: "Feed what `inputs(step, parameters)` of the optimizer gives.",
  });
}
