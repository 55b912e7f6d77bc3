import { LoomweightError } from "@loomweight/tensor";
import { gradient } from "../gradient/gradient.ts";
import { input } from "../inputs.ts";
import { add, mul, sub } from "../ops/elementwise.ts";
import { reshape } from "../ops/shape.ts";
import type { CompileOptions } from "../runtime/runtime.ts";
import type { GraphValue, Value } from "../value.ts";
import { clipByNorm, clipByValue, globalNorm } from "./clip.ts";
import { type BuiltLoss, buildLoss, type Loss, stateValues, type Types } from "./loss.ts";
import type { Optimizer } from "./optimizer.ts";
import type { RandomInput } from "./random-inputs.ts";

/** Prefixes of the state's tensors beside parameters and buffers, which go by their own names. */
export const optimizerPrefix = "optimizer/";
export const averagePrefix = "ema/";
export const accumulatedPrefix = "accumulated/";
const scalarPrefix = "scalar/";
const optimizerInputPrefix = "optimizer input/";

/** Limits of gradients. */
export interface ClipOptions {
  /** Largest norm over all gradients together, as `torch.nn.utils.clip_grad_norm_`. */
  readonly norm?: number;
  /** Largest magnitude of each element. */
  readonly value?: number;
}

/** What a training graph is built from. */
export interface StepDesign {
  readonly loss: Loss;
  readonly optimizer: Optimizer;
  readonly trainable: Types;
  readonly frozen: Types;
  readonly buffers: Types;
  readonly optimizerState: Types;
  readonly scalarNames: readonly string[];
  /** Tensors that the optimizer is fed at every step. */
  readonly optimizerInputs: Types;
  readonly clip: ClipOptions;
  /** Gradients of so many batches are averaged for one update. */
  readonly accumulate: number;
  /** Decay of the moving average of the parameters. */
  readonly averageDecay?: number;
  /** Whether the norm of the gradients is given back. */
  readonly watchNorm: boolean;
}

/** One graph of the loop and what it must be fed beside the batch. */
export interface StepGraph {
  readonly program: CompileOptions;
  readonly random: ReadonlyMap<string, RandomInput>;
  readonly scalars: readonly string[];
  /** Whether the optimizer's own inputs are fed: only where it runs. */
  readonly feedsOptimizer: boolean;
  readonly built: BuiltLoss;
  /** Gradients, for finding what is not finite. */
  readonly gradients: Readonly<Record<string, Value>>;
}

/** "accumulate": adds the batch's gradients to those before it; "update": the same, and then the optimizer. */
export function buildStep(design: StepDesign, batch: Types, kind: "accumulate" | "update"): StepGraph {
  const trainable = stateValues(design.trainable);
  const built = buildLoss(design.loss, {
    trainable,
    frozen: stateValues(design.frozen),
    buffers: stateValues(design.buffers),
    batch,
  });
  const { loss, metrics = {}, updates = {} } = built.parts;
  const own = gradient(loss, trainable);
  const share = design.accumulate === 1 ? own : summed(own, design);
  const outputs: Record<string, Value> = { loss: scalar(loss) };
  for (const [name, value] of Object.entries(metrics)) outputs[`metric/${name}`] = scalar(value);
  const inputs: GraphValue[] = Object.values(built.inputs);
  for (const { value } of built.random.values()) inputs.push(value);
  const update: Record<string, Value> = { ...updates };
  if (kind === "accumulate") {
    for (const [name, value] of Object.entries(share)) update[`${accumulatedPrefix}${name}`] = value;
    return {
      program: { name: "accumulate", inputs, outputs, update },
      random: built.random,
      scalars: [],
      feedsOptimizer: false,
      built,
      gradients: own,
    };
  }
  const scalars = Object.fromEntries(
    design.scalarNames.map((name) => [name, input(`${scalarPrefix}${name}`, "float32", [])]),
  );
  const optimizerInputs = Object.fromEntries(
    Object.entries(design.optimizerInputs).map(([name, { dtype, shape }]) => [
      name,
      input(optimizerInputName(name), dtype, shape),
    ]),
  );
  inputs.push(...Object.values(scalars), ...Object.values(optimizerInputs));
  const clipped = clippedGradients(share, design, outputs);
  const next = design.optimizer.update({
    gradients: clipped,
    parameters: trainable,
    state: stateValues(design.optimizerState, optimizerPrefix),
    scalars,
    ...(Object.keys(optimizerInputs).length > 0 && { inputs: optimizerInputs }),
    gradientsAt(parameters) {
      if (design.accumulate > 1) throw notTwice(design.optimizer.name);
      return clippedGradients(gradient(built.at(parameters), parameters as Record<string, Value>), design, {});
    },
  });
  Object.assign(update, next.parameters);
  for (const [name, value] of Object.entries(next.state)) update[`${optimizerPrefix}${name}`] = value;
  if (design.accumulate > 1) {
    for (const [name, value] of Object.entries(own)) update[`${accumulatedPrefix}${name}`] = mul(value, 0);
  }
  const { averageDecay } = design;
  if (averageDecay !== undefined) {
    const averages = stateValues(design.trainable, averagePrefix);
    for (const [name, average] of Object.entries(averages)) {
      const parameter = next.parameters[name] ?? trainable[name];
      update[`${averagePrefix}${name}`] = add(average, mul(sub(parameter, average), 1 - averageDecay));
    }
  }
  return {
    program: { name: "train", inputs, outputs, update },
    random: built.random,
    scalars: design.scalarNames,
    feedsOptimizer: true,
    built,
    gradients: own,
  };
}

/** Feeds of the optimizer's scalars. */
export function scalarName(name: string): string {
  return `${scalarPrefix}${name}`;
}

/** Feeds of the optimizer's own inputs. */
export function optimizerInputName(name: string): string {
  return `${optimizerInputPrefix}${name}`;
}

function scalar(value: Value): Value {
  return value.shape.length === 0 ? value : reshape(value, []);
}

/** accumulated + gradient / count */
function summed(own: Readonly<Record<string, Value>>, { trainable, accumulate }: StepDesign): Record<string, Value> {
  const before = stateValues(trainable, accumulatedPrefix);
  return Object.fromEntries(
    Object.entries(own).map(([name, each]) => [name, add(before[name], mul(each, 1 / accumulate))]),
  );
}

function clippedGradients(
  gradients: Readonly<Record<string, Value>>,
  { clip, watchNorm }: StepDesign,
  outputs: Record<string, Value>,
): Readonly<Record<string, Value>> {
  let clipped = gradients;
  if (clip.value !== undefined) clipped = clipByValue(clipped, clip.value);
  if (clip.norm === undefined && !watchNorm) return clipped;
  const norm = globalNorm(clipped);
  outputs.gradientNorm = norm;
  return clip.norm === undefined ? clipped : clipByNorm(clipped, norm, clip.norm);
}

function notTwice(optimizer: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    option: "accumulate",
    problem: `${optimizer} looks at each batch twice, which does not go with accumulated gradients`,
    expected: "1",
    fix: "Use a larger batch instead.",
  });
}
