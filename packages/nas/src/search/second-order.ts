import { add, div, gradient, mul, reshape, stopGradient, sub, type Value } from "@loomweight/graph";
import { createRandomInputs, globalNorm } from "@loomweight/graph/training";
import { type ForwardDesign, forward, withCost } from "./forward.ts";
import { type OptimizerValues, type StepCall, type StepValues, updated } from "./steps.ts";
import type { Cost } from "./task.ts";

type Values = Readonly<Record<string, Value>>;

/** The step of the weights that is looked through. */
export interface Unrolled {
  /** The weights' learning rate: a scalar. */
  readonly rate: Value;
  /** momentum · buffer is part of the step, without Nesterov's form; buffers by parameter, where there are any. */
  readonly momentum: number;
  readonly buffers: Values;
  readonly weightDecay: number;
}

/**
 * DARTS of second order: the gradient of alpha at the weights after one more step,
 * ∇α L_arch(w′, α) − rate · ∇²_{α,w} L_weights(w, α) ∇w′ L_arch(w′, α),
 * w′ = w − rate · (momentum · buffer + ∇w L_weights + weightDecay · w). The product with the Hessian is a finite
 * difference around w with the radius 0.01 / ‖∇w′ L_arch‖. Liu et al. 2019, arXiv:1806.09055, §2.3.
 */
export function secondOrderStep(
  design: ForwardDesign & { readonly cost?: Cost },
  call: StepCall & { readonly weightBatch: Values },
  optimizer: OptimizerValues,
  { rate, momentum, buffers, weightDecay }: Unrolled,
): StepValues {
  const { weights, alphas, batch, weightBatch, draws } = call;
  const noise = createRandomInputs();
  const at = (moved: Values, of: Values) => forward({ ...design, noise }, moved, alphas, of, draws);
  const step = gradient(at(weights, weightBatch).loss, weights);
  const moved = mapValues(weights, (weight, name) => {
    const decayed = add(step[name], mul(weight, weightDecay));
    const whole = buffers[name] === undefined ? decayed : add(decayed, mul(buffers[name], momentum));
    // Taken as given: how it depends on alpha is the product with the Hessian below.
    return stopGradient(sub(weight, mul(whole, rate)));
  });
  const pass = at(moved, batch);
  const { loss, size } = withCost(pass, design.cost, design.space);
  const direct = gradient(loss, alphas);
  const direction = gradient(loss, moved);
  const radius = div(0.01, globalNorm(direction));
  const along = (sign: 1 | -1) => {
    const shifted = mapValues(weights, (weight, name) =>
      stopGradient(add(weight, mul(direction[name], mul(radius, sign)))),
    );
    return gradient(at(shifted, weightBatch).loss, alphas);
  };
  const [ahead, behind] = [along(1), along(-1)];
  const gradients = mapValues(alphas, (_, name) =>
    sub(direct[name], mul(div(sub(ahead[name], behind[name]), mul(radius, 2)), rate)),
  );
  const outputs = {
    architectureLoss: reshape(pass.loss, []),
    ...(size !== undefined && { expectedSize: reshape(size, []) }),
  };
  return { ...updated(optimizer, gradients, alphas), gradients, outputs, random: pass.random };
}

function mapValues(values: Values, change: (each: Value, name: string) => Value): Record<string, Value> {
  return Object.fromEntries(Object.entries(values).map(([name, each]) => [name, change(each, name)]));
}
