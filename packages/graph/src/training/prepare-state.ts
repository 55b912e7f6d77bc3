import { cast, LoomweightError, type Tensor, zeros } from "@loomweight/tensor";
import type { LazyTensor } from "../value.ts";
import { typesOf } from "./batches.ts";
import { accumulatedPrefix, averagePrefix, optimizerPrefix, type StepDesign } from "./step-graph.ts";
import type { TrainOptions } from "./train.ts";

/** Everything the runtime will hold, and the names of what is saved: all but frozen parameters and sums. */
export async function prepareState(
  options: TrainOptions,
  firstRate: number,
): Promise<{ design: StepDesign; initial: Record<string, Tensor | LazyTensor>; saved: readonly string[] }> {
  const { trainable: which, buffers = {}, optimizer, accumulate = 1, clip = {}, ema, watchNorm = false } = options;
  const isTrainable =
    which === undefined ? () => true : which instanceof RegExp ? (name: string) => which.test(name) : which;
  const trainable: Record<string, Tensor> = {};
  const frozen: Record<string, Tensor | LazyTensor> = {};
  for (const [name, given] of Object.entries(options.parameters)) {
    if (!isTrainable(name)) {
      frozen[name] = given; // read when the runtime takes it
      continue;
    }
    const tensor = "read" in given ? await given.read() : given;
    trainable[name] = tensor.dtype === "float32" ? tensor : cast(tensor, "float32");
  }
  if (Object.keys(trainable).length === 0) {
    throw new LoomweightError({ code: "INVALID_OPTION", option: "trainable", problem: "no parameter is trainable" });
  }
  const optimizerState = optimizer.init(trainable);
  const initial: Record<string, Tensor | LazyTensor> = { ...frozen, ...trainable, ...buffers };
  const withPrefix = (prefix: string, tensors: Readonly<Record<string, Tensor>>) => {
    for (const [name, tensor] of Object.entries(tensors)) initial[`${prefix}${name}`] = tensor;
  };
  withPrefix(optimizerPrefix, optimizerState);
  if (ema !== undefined) withPrefix(averagePrefix, trainable);
  const saved = Object.keys(initial).filter((name) => !Object.hasOwn(frozen, name));
  const design: StepDesign = {
    loss: options.loss,
    optimizer,
    trainable: typesOf(trainable),
    frozen: Object.fromEntries(Object.entries(frozen).map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
    buffers: typesOf(buffers),
    optimizerState: typesOf(optimizerState),
    scalarNames: Object.keys(optimizer.scalars(1, firstRate)),
    optimizerInputs: typesOf(optimizer.inputs?.(1, trainable) ?? {}),
    clip,
    accumulate,
    averageDecay: ema?.decay,
    watchNorm,
  };
  Object.assign(initial, accumulators(design));
  return { design, initial, saved };
}

/** Sums of gradients before the first batch of a step. */
export function accumulators({ accumulate, trainable }: StepDesign): Record<string, Tensor> {
  if (accumulate === 1) return {};
  return Object.fromEntries(
    Object.entries(trainable).map(([name, { shape }]) => [`${accumulatedPrefix}${name}`, zeros(shape)]),
  );
}
