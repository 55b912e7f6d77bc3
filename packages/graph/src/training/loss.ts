import { isFloat, LoomweightError, type Tensor } from "@loomweight/tensor";
import { input } from "../inputs.ts";
import { cast } from "../ops/logic.ts";
import { stateValue } from "../runtime/state-value.ts";
import { type GraphValue, isTensor, type Value } from "../value.ts";
import { createRandomInputs, type RandomInput, type RandomInputs } from "./random-inputs.ts";

/** Tensors of one step by name: what the graph is fed. */
export type Batch = Readonly<Record<string, Tensor>>;

/** What a loss finds beside parameters and batch. */
export interface LossContext {
  /** Masks and noise, drawn anew at every step. */
  readonly random: RandomInputs;
  /** Tensors that the loss updates itself, such as running statistics. */
  readonly buffers: Readonly<Record<string, Value>>;
}

/** What a loss may return beside the number that falls. */
export interface LossParts {
  /** One float element: the mean over the batch, so that batches of any size weigh alike. */
  readonly loss: Value;
  /** Other scalars to watch. */
  readonly metrics?: Readonly<Record<string, Value>>;
  /** Next values of buffers, by their names. */
  readonly updates?: Readonly<Record<string, Value>>;
}

/** The function that is minimised, built as a graph once for every shape of batch. */
export type Loss = (
  parameters: Readonly<Record<string, Value>>,
  batch: Readonly<Record<string, Value>>,
  context: LossContext,
) => Value | LossParts;

/** Types of named tensors. */
export type Types = Readonly<Record<string, { readonly dtype: Tensor["dtype"]; readonly shape: readonly number[] }>>;

/** A loss built over the state and a batch's inputs. */
export interface BuiltLoss {
  readonly parts: LossParts;
  /** The batch's inputs. */
  readonly inputs: Readonly<Record<string, GraphValue>>;
  readonly random: ReadonlyMap<string, RandomInput>;
  /** The loss at other values of the trainable parameters, of the same batch and the same random inputs. */
  at(parameters: Readonly<Record<string, Value>>): Value;
}

/** Values of the state by name. */
export function stateValues(types: Types, prefix = ""): Record<string, GraphValue> {
  return Object.fromEntries(
    Object.entries(types).map(([name, { dtype, shape }]) => [name, stateValue(`${prefix}${name}`, dtype, shape)]),
  );
}

/** Calls the loss with values of the state; frozen parameters in half precision are cast to float32. */
export function buildLoss(
  loss: Loss,
  given: {
    readonly trainable: Readonly<Record<string, Value>>;
    readonly frozen: Readonly<Record<string, Value>>;
    readonly buffers: Readonly<Record<string, Value>>;
    readonly batch: Types;
  },
): BuiltLoss {
  const { inputs: random, declared } = createRandomInputs();
  const inputs = Object.fromEntries(
    Object.entries(given.batch).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
  );
  const frozen = Object.fromEntries(Object.entries(given.frozen).map(([name, value]) => [name, widened(value)]));
  const call = (trainable: Readonly<Record<string, Value>>): LossParts => {
    const result = loss({ ...frozen, ...trainable }, inputs, { random, buffers: given.buffers });
    const parts = "loss" in result ? result : { loss: result };
    checkLoss(parts, given.buffers);
    return parts;
  };
  return { parts: call(given.trainable), inputs, random: declared, at: (parameters) => call(parameters).loss };
}

function widened(value: Value): Value {
  return value.dtype === "bfloat16" || value.dtype === "float16" ? cast(value, "float32") : value;
}

function checkLoss({ loss, metrics = {}, updates = {} }: LossParts, buffers: Readonly<Record<string, Value>>): void {
  for (const [name, value] of [["loss", loss], ...Object.entries(metrics)] as [string, Value][]) {
    if (value.shape.every((dim) => dim === 1) && (name !== "loss" || (isFloat(value.dtype) && !isTensor(value))))
      continue;
    throw new LoomweightError({
      code: "INVALID_LOSS",
      problem:
        name === "loss"
          ? "a loss is one float that depends on the parameters"
          : `the metric "${name}" is no single number`,
      expected: "shape []",
      found: isTensor(value) ? "a constant" : `${value.dtype} [${value.shape}]`,
      fix: "Take its mean.",
    });
  }
  for (const name of Object.keys(updates)) {
    if (Object.hasOwn(buffers, name)) continue;
    throw new LoomweightError({
      code: "UNKNOWN_BUFFER",
      problem: `the loss updates "${name}", which is no buffer`,
      expected: Object.keys(buffers).join(", ") || "buffers given to train",
      found: name,
      fix: "Pass its first value in `buffers`.",
    });
  }
}
