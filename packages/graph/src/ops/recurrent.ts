import { LoomweightError } from "@loomweight/tensor";
import { floatOf, floatsOf, int, intOf, text, textOf } from "../attributes.ts";
import { apply, defineOps, type OpCall, type OpRule, ruleOf, type Sample } from "../op.ts";
import type { Dim, Value } from "../value.ts";
import { softsign, thresholdedRelu } from "./activations.ts";
import { byParts, type DecomposedCall, type Decomposition } from "./decompose.ts";
import { add, clip, exp, leakyRelu, max, min, mul, relu, sigmoid, softplus, sub, tanh } from "./elementwise.ts";
import { constantOfShape } from "./generate.ts";
import { less, where } from "./logic.ts";
import { gemm } from "./matmul.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";
import { concat, reshape, split, squeeze, transpose, unsqueeze } from "./shape.ts";

type Activation = (x: Value) => Value;

/** ONNX's names of activations; some take alpha, some beta as well. */
const activations: Readonly<
  Record<string, { uses: 0 | 1 | 2; defaults?: readonly number[]; make(alpha: number, beta: number): Activation }>
> = {
  Sigmoid: { uses: 0, make: () => sigmoid },
  Tanh: { uses: 0, make: () => tanh },
  Relu: { uses: 0, make: () => relu },
  Softsign: { uses: 0, make: () => softsign },
  Softplus: { uses: 0, make: () => softplus },
  LeakyRelu: { uses: 1, defaults: [0.01], make: (alpha) => (x) => leakyRelu(x, alpha) },
  ThresholdedRelu: { uses: 1, defaults: [1], make: (alpha) => (x) => thresholdedRelu(x, alpha) },
  Elu: {
    uses: 1,
    defaults: [1],
    make: (alpha) => (x) => add(max(x, 0), mul(sub(exp(min(x, 0)), 1), alpha)),
  },
  Affine: { uses: 2, defaults: [1, 0], make: (alpha, beta) => (x) => add(mul(x, alpha), beta) },
  ScaledTanh: { uses: 2, defaults: [1, 1], make: (alpha, beta) => (x) => mul(tanh(mul(x, beta)), alpha) },
  HardSigmoid: { uses: 2, defaults: [0.2, 0.5], make: (alpha, beta) => (x) => clip(add(mul(x, alpha), beta), 0, 1) },
};

/** The activations of each direction; alphas and betas go to those that use them, in order. */
function activationsOf(call: DecomposedCall, defaults: readonly string[], directions: number): Activation[][] {
  const given = call.attributes.activations;
  const names = given?.type === "strings" ? given.value : [];
  const [alphas, betas] = [
    [...(floatsOf(call, "activation_alpha") ?? [])],
    [...(floatsOf(call, "activation_beta") ?? [])],
  ];
  return Array.from({ length: directions }, (_, direction) =>
    defaults.map((otherwise, place) => {
      const name = names[direction * defaults.length + place] ?? otherwise;
      const known = Object.keys(activations).find((each) => each.toLowerCase() === name.toLowerCase());
      if (known === undefined) {
        throw new LoomweightError({
          code: "INVALID_ATTRIBUTE",
          problem: `${call.op}: there is no activation "${name}"`,
          node: call.name,
        });
      }
      const { uses, defaults: own = [], make } = activations[known];
      const alpha = uses > 0 ? (alphas.shift() ?? own[0]) : 0;
      return make(alpha, uses > 1 ? (betas.shift() ?? own[1]) : 0);
    }),
  );
}

interface Layer {
  /** x [steps, batch, features] as a list over time of its projections with bias: [batch, gates · hidden]. */
  readonly steps: readonly Value[];
  /** [gates · hidden, hidden] */
  readonly recurrent: Value;
  /** [gates · hidden] of the recurrent product, where it is kept apart. */
  readonly recurrentBias?: Value;
  readonly peepholes?: readonly Value[];
  readonly act: readonly Activation[];
  readonly hidden: number;
  /** Clamps what goes into an activation. */
  readonly bounded: Activation;
}

/** New states from the projection of one step and the old ones; the first is the output. */
type Cell = (projected: Value, states: readonly Value[], layer: Layer) => readonly Value[];

interface Family {
  readonly gates: number;
  readonly states: number;
  readonly activations: readonly string[];
  /** Whether the recurrent bias must stay apart from the input's. */
  apartBias?(call: DecomposedCall): boolean;
  readonly cell: (call: DecomposedCall) => Cell;
}

/** Recurrent product h Rᵀ (+ bias). */
const recur = (h: Value, weight: Value, bias?: Value): Value => gemm(h, weight, bias, { transB: true });

const families: Readonly<Record<"LSTM" | "GRU" | "RNN", Family>> = {
  RNN: {
    gates: 1,
    states: 1,
    activations: ["Tanh"],
    cell:
      () =>
      (x, [h], { recurrent, act, bounded }) => [act[0](bounded(add(x, recur(h, recurrent))))],
  },
  /** Gates z, r, h: h′ = (1 − z) · h̃ + z · h */
  GRU: {
    gates: 3,
    states: 1,
    activations: ["Sigmoid", "Tanh"],
    apartBias: (call) => intOf(call, "linear_before_reset", 0) !== 0,
    cell(call) {
      const before = intOf(call, "linear_before_reset", 0) !== 0;
      return (x, [h], { recurrent, recurrentBias, act, hidden, bounded }) => {
        const [zr, candidate] = split(x, [2 * hidden, hidden], 1);
        const [weightZr, weightH] = split(recurrent, [2 * hidden, hidden], 0);
        const biases = recurrentBias && split(recurrentBias, [2 * hidden, hidden], 0);
        const [z, r] = split(act[0](bounded(add(zr, recur(h, weightZr, biases?.[0])))), [hidden, hidden], 1);
        const inner = before ? mul(r, recur(h, weightH, biases?.[1])) : recur(mul(r, h), weightH, biases?.[1]);
        const fresh = act[1](bounded(add(candidate, inner)));
        return [add(mul(sub(1, z), fresh), mul(z, h))];
      };
    },
  },
  /** Gates i, o, f, c: c′ = f · c + i · c̃, h′ = o · tanh(c′) */
  LSTM: {
    gates: 4,
    states: 2,
    activations: ["Sigmoid", "Tanh", "Tanh"],
    cell(call) {
      const coupled = intOf(call, "input_forget", 0) !== 0;
      return (x, [h, c], { recurrent, peepholes, act, hidden, bounded }) => {
        const gates = split(add(x, recur(h, recurrent)), [hidden, hidden, hidden, hidden], 1);
        const seen = (gate: Value, index: number, cell: Value) =>
          act[0](bounded(peepholes === undefined ? gate : add(gate, mul(peepholes[index], cell))));
        const i = seen(gates[0], 0, c);
        const f = coupled ? sub(1, i) : seen(gates[2], 2, c);
        const next = add(mul(f, c), mul(i, act[1](bounded(gates[3]))));
        const o = seen(gates[1], 1, next);
        return [mul(o, act[2](next)), next];
      };
    },
  },
};

/** One direction of a weight [directions, …]. */
function ofDirection(value: Value, direction: number): Value {
  const directions = value.shape[0] as number;
  return squeeze(directions === 1 ? value : split(value, new Array<number>(directions).fill(1), 0)[direction], [0]);
}

const directionsOf = (call: DecomposedCall): readonly ("forward" | "reverse")[] => {
  const direction = textOf(call, "direction", "forward");
  if (direction === "bidirectional") return ["forward", "reverse"];
  return [direction === "reverse" ? "reverse" : "forward"];
};

/** The network step by step: one projection of all inputs, then one recurrent product per step. */
export function recurrentByParts(kind: keyof typeof families): Decomposition {
  const family = families[kind];
  return (call) => {
    const [given, weights, recurrences, biases, lengths, initialH, initialC, peepholes] = call.inputs;
    const batchFirst = intOf(call, "layout", 0) === 1;
    const turned = (value: Value) => (batchFirst ? transpose(value, [1, 0, 2]) : value);
    const x = turned(given as Value);
    const [steps, batch, features] = x.shape;
    const hidden = (recurrences as Value).shape[2];
    if (
      typeof steps !== "number" ||
      typeof batch !== "number" ||
      typeof features !== "number" ||
      typeof hidden !== "number"
    ) {
      throw badShape(call, `[${x.shape}] has sizes that are not known`, "Build the graph for concrete sizes.");
    }
    const bound = floatOf(call, "clip", undefined);
    const bounded: Activation = (value) => (bound === undefined ? value : clip(value, -bound, bound));
    const directions = directionsOf(call);
    const acts = activationsOf(call, family.activations, directions.length);
    const live = Array.from({ length: steps }, (_, t) => lengths && unsqueeze(less(t, lengths), [1]));
    const rows = reshape(x, [steps * batch, features]);
    const width = family.gates * hidden;
    const outputs = directions.map((direction, d) => {
      const halves = biases && split(ofDirection(biases, d), [width, width], 0);
      const apart = family.apartBias?.(call) ?? false;
      const bias = halves && (apart ? halves[0] : add(halves[0], halves[1]));
      const projected = gemm(rows, ofDirection(weights as Value, d), bias, { transB: true });
      const layer: Layer = {
        steps: steps === 1 ? [projected] : split(projected, new Array<number>(steps).fill(batch), 0),
        recurrent: ofDirection(recurrences as Value, d),
        recurrentBias: apart ? halves?.[1] : undefined,
        peepholes: peepholes && split(ofDirection(peepholes, d), [hidden, hidden, hidden], 0),
        act: acts[d],
        hidden,
        bounded,
      };
      const zero = constantOfShape([batch, hidden], 0, x.dtype);
      const first = [initialH, initialC]
        .slice(0, family.states)
        .map((state) => (state ? ofDirection(turned(state), d) : zero));
      return overTime(family.cell(call), layer, first, live, direction === "reverse");
    });
    const y = concat(
      Array.from({ length: steps }, (_, t) =>
        unsqueeze(
          concat(
            outputs.map((each) => unsqueeze(each.ys[t], [0])),
            0,
          ),
          [0],
        ),
      ),
      0,
    );
    const finals = Array.from({ length: family.states }, (_, index) =>
      turned(
        concat(
          outputs.map(({ states }) => unsqueeze(states[index], [0])),
          0,
        ),
      ),
    );
    return [batchFirst ? transpose(y, [2, 0, 1, 3]) : y, ...finals];
  };
}

/** Where a sequence has ended the state stays and the output is 0; backwards it has not begun there. */
function overTime(
  cell: Cell,
  layer: Layer,
  first: readonly Value[],
  live: readonly (Value | undefined)[],
  backwards: boolean,
): { ys: Value[]; states: readonly Value[] } {
  const ys = new Array<Value>(layer.steps.length);
  let states = first;
  for (let step = 0; step < ys.length; step++) {
    const t = backwards ? ys.length - 1 - step : step;
    const mask = live[t];
    const next = cell(layer.steps[t], states, layer);
    ys[t] = mask === undefined ? next[0] : where(mask, next[0], 0);
    states = mask === undefined ? next : next.map((each, index) => where(mask, each, states[index]));
  }
  return { ys, states };
}

function recurrentRule(kind: keyof typeof families, samples: readonly Sample[]): OpRule {
  const { gates, states } = families[kind];
  return {
    inputs: [3, kind === "LSTM" ? 8 : 6],
    infer(call) {
      requireFloat(call, 0);
      const dtype = sameDtype(
        call,
        call.inputs.map((_, index) => index).filter((index) => index !== 4),
      );
      const [x, weight, recurrence] = [inputOf(call, 0).shape, inputOf(call, 1).shape, inputOf(call, 2).shape];
      if (x.length !== 3 || weight.length !== 3 || recurrence.length !== 3) {
        throw badShape(call, `x [${x}], W [${weight}] and R [${recurrence}] need three axes each`);
      }
      const hidden = intOf(call, "hidden_size", undefined) ?? recurrence[2];
      checkGates(call, weight, hidden, gates);
      const directions = textOf(call, "direction", "forward") === "bidirectional" ? 2 : 1;
      const batchFirst = intOf(call, "layout", 0) === 1;
      const [steps, batch] = batchFirst ? [x[1], x[0]] : [x[0], x[1]];
      const y = batchFirst ? [batch, steps, directions, hidden] : [steps, directions, batch, hidden];
      const final = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden];
      const types = [{ dtype, shape: y }, ...Array.from({ length: states }, () => ({ dtype, shape: final }))];
      return types.slice(0, Math.max(1, call.outputs));
    },
    evaluate: byParts(recurrentByParts(kind)),
    samples,
  };
}

function checkGates(call: OpCall, weight: readonly Dim[], hidden: Dim, gates: number): void {
  const rows = weight[1];
  if (typeof rows === "number" && typeof hidden === "number" && hidden !== 0 && rows !== gates * hidden) {
    throw badShape(call, `W [${weight}] needs ${gates} rows per hidden unit of ${hidden}`);
  }
}

const network = (gates: number, more: readonly (readonly number[] | undefined)[] = []): Sample["inputs"] => [
  [3, 2, 4],
  [1, gates * 2, 4],
  [1, gates * 2, 2],
  [1, gates * 4],
  ...more,
];

/** Recurrent networks: x [steps, batch, features], W [directions, gates · hidden, features], R [.., hidden], B [directions, 2 · gates · hidden]. No WebGPU kernels. */
export const recurrentOps = /* @__PURE__ */ defineOps({
  LSTM: recurrentRule("LSTM", [
    { inputs: network(4), attributes: { hidden_size: int(2) }, outputs: 3 },
    {
      inputs: network(4, [undefined, [1, 2, 2], [1, 2, 2], [1, 6]]),
      attributes: { hidden_size: int(2), direction: text("reverse") },
      outputs: 3,
    },
  ]),
  GRU: recurrentRule("GRU", [
    { inputs: network(3), attributes: { hidden_size: int(2) }, outputs: 2 },
    { inputs: network(3), attributes: { hidden_size: int(2), linear_before_reset: int(1) }, outputs: 2 },
  ]),
  RNN: recurrentRule("RNN", [{ inputs: network(1), attributes: { hidden_size: int(2) }, outputs: 2 }]),
});

export interface RecurrentOptions {
  /** [directions, 2 · gates · hidden]: the input's bias, then the recurrent one. */
  readonly bias?: Value;
  /** int32 [batch] */
  readonly lengths?: Value;
  /** [directions, batch, hidden] */
  readonly initialH?: Value;
  readonly direction?: "forward" | "reverse" | "bidirectional";
}

function recurrent(
  kind: keyof typeof families,
  x: Value,
  w: Value,
  r: Value,
  options: RecurrentOptions & { initialC?: Value; attributes?: Record<string, number> },
): readonly Value[] {
  const { bias, lengths, initialH, initialC, direction, attributes = {} } = options;
  return apply(ruleOf(recurrentOps, kind), [x, w, r, bias, lengths, initialH, initialC], {
    attributes: {
      hidden_size: int(r.shape[2] as number),
      ...(direction === undefined ? {} : { direction: text(direction) }),
      ...Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, int(value)])),
    },
    outputs: families[kind].states + 1,
  });
}

/** Long short-term memory; gates i, o, f, c. y [steps, directions, batch, hidden]. No WebGPU kernel. */
export function lstm(
  x: Value,
  w: Value,
  r: Value,
  options: RecurrentOptions & { readonly initialC?: Value } = {},
): { y: Value; finalH: Value; finalC: Value } {
  const [y, finalH, finalC] = recurrent("LSTM", x, w, r, options);
  return { y, finalH, finalC };
}

/** Gated recurrent unit; gates z, r, h; PyTorch's has `linearBeforeReset`. No WebGPU kernel. */
export function gru(
  x: Value,
  w: Value,
  r: Value,
  { linearBeforeReset = false, ...options }: RecurrentOptions & { readonly linearBeforeReset?: boolean } = {},
): { y: Value; finalH: Value } {
  const attributes: Record<string, number> = linearBeforeReset ? { linear_before_reset: 1 } : {};
  const [y, finalH] = recurrent("GRU", x, w, r, { ...options, attributes });
  return { y, finalH };
}
