import { add, div, greater, max, mul, pow, sub, type Value, where } from "@loomweight/graph";
import { integer, nonNegative, type Tensor, zeros } from "@loomweight/tensor";
import { stateName } from "./per-parameter.ts";

/** Options that the schedule-free methods share. */
export const scheduleFreeOptions = {
  weightDecay: nonNegative(0, "multiple of the trained weight added to the direction"),
  warmup: integer(0, "steps over which the learning rate rises", { min: 0 }),
  weightPower: nonNegative(0, "iterates are weighted by the step to this power"),
  ratePower: nonNegative(2, "and by the largest learning rate so far to this power"),
};

/** State beside that of the direction: the base iterate z, the sum of weights and the largest rate so far. */
export function initScheduleFree(parameter: Tensor): Record<string, Tensor> {
  const { dtype } = parameter;
  return { z: parameter, weight_sum: zeros([], dtype), lr_max: zeros([], dtype) };
}

/** Scalars of a step. */
export function scheduleFreeScalars(
  step: number,
  learningRate: number,
  { warmup, weightPower }: { readonly warmup: number; readonly weightPower: number },
): { rate: number; stepWeight: number } {
  return { rate: learningRate * (warmup === 0 ? 1 : Math.min(1, step / warmup)), stepWeight: step ** weightPower };
}

/**
 * One step of z and of y, the trained weights, which lie between z and the weighted mean x of all z: y = beta x +
 * (1 − beta) z. x is not stored: y ← (1 − c) y + c z + rate (beta (1 − c) − 1) u, z ← z − rate u, c the share of the new z.
 * `direction` u is taken at y. Defazio et al. 2024, arXiv:2405.15682, Algorithm 1, in the authors' two-buffer form.
 */
export function scheduleFreeStep(
  { parameter, direction }: { readonly parameter: Value; readonly direction: Value },
  state: Readonly<Record<string, Value>>,
  { rate, stepWeight }: Readonly<Record<string, Value>>,
  { beta, ratePower }: { readonly beta: number; readonly ratePower: number },
): { parameter: Value; state: Record<string, Value> } {
  const largest = max(state.lr_max, rate);
  const weight = mul(stepWeight, ratePower === 2 ? mul(largest, largest) : pow(largest, ratePower));
  const sum = add(state.weight_sum, weight);
  const share = where(greater(sum, 0), div(weight, sum), 0); // 0 while the rate is 0
  const rest = sub(1, share);
  const mixed = add(mul(parameter, rest), mul(state.z, share));
  const moved = mul(direction, mul(rate, sub(mul(rest, beta), 1)));
  return {
    parameter: add(mixed, moved),
    state: { z: sub(state.z, mul(direction, rate)), weight_sum: sum, lr_max: largest },
  };
}

/** x = (y − (1 − beta) z) / beta, what is evaluated and saved. */
export function scheduleFreeAverage(
  beta: number,
  { parameters, state }: { parameters: Readonly<Record<string, Value>>; state: Readonly<Record<string, Value>> },
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, y]) => {
      const z = state[stateName("z", name)];
      return [name, z === undefined ? y : div(sub(y, mul(z, 1 - beta)), beta)];
    }),
  );
}
