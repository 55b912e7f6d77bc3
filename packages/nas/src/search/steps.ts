import { gradient, reshape, type Value } from "@loomweight/graph";
import { clipByNorm, globalNorm, type Optimizer, type RandomInput } from "@loomweight/graph/training";
import type { Architecture } from "../space/choice.ts";
import { type ForwardDesign, forward, withCost } from "./forward.ts";
import type { Cost } from "./task.ts";

type Values = Readonly<Record<string, Value>>;

/** An optimizer's state and numbers as values. */
export interface OptimizerValues {
  readonly optimizer: Optimizer;
  readonly state: Values;
  readonly scalars: Values;
}

/** What a step computes: numbers to watch, and next values. */
export interface StepValues {
  readonly outputs: Values;
  readonly parameters: Values;
  readonly state: Values;
  readonly gradients: Values;
  readonly random: ReadonlyMap<string, RandomInput>;
}

const scalar = (value: Value): Value => (value.shape.length === 0 ? value : reshape(value, []));

/** What both kinds of step are given. */
export interface StepCall {
  readonly weights: Values;
  readonly alphas: Values;
  readonly batch: Values;
  readonly draws: Readonly<Record<string, Values>>;
  readonly architecture?: Architecture;
}

/** One step on alpha: the loss of a batch of the architecture's split at the present weights. */
export function architectureStep(
  design: ForwardDesign & { readonly cost?: Cost },
  { weights, alphas, batch, draws, architecture }: StepCall,
  optimizer: OptimizerValues,
): StepValues {
  const pass = forward(design, weights, alphas, batch, draws, architecture);
  const { loss, size } = withCost(pass, design.cost, design.space);
  const gradients = gradient(loss, alphas);
  const outputs = { architectureLoss: scalar(pass.loss), ...(size !== undefined && { expectedSize: scalar(size) }) };
  return { ...updated(optimizer, gradients, alphas), gradients, outputs, random: pass.random };
}

/** One step on the weights: gradients are clipped to a norm of `clipNorm`. */
export function weightStep(
  design: ForwardDesign & { readonly clipNorm: number },
  { weights, alphas, batch, draws, architecture }: StepCall,
  optimizer: OptimizerValues,
): StepValues {
  const pass = forward(design, weights, alphas, batch, draws, architecture);
  const gradients = gradient(pass.loss, weights);
  const norm = globalNorm(gradients);
  const clipped = clipByNorm(gradients, norm, design.clipNorm);
  const outputs = { loss: scalar(pass.loss), gradientNorm: scalar(norm) };
  return { ...updated(optimizer, clipped, weights), gradients, outputs, random: pass.random };
}

export function updated({ optimizer, state, scalars }: OptimizerValues, gradients: Values, parameters: Values) {
  return optimizer.update({
    gradients,
    parameters,
    state,
    scalars,
    gradientsAt() {
      throw new Error(`${optimizer.name} asks for gradients twice, which a search does not give`);
    },
  });
}
