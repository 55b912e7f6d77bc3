import { add, identity, mul, reduceSum, sub, type Value } from "@loomweight/graph";
import { nonNegative, parseOptions, shapeMismatch, type Tensor } from "@loomweight/tensor";
import { square } from "./moments.ts";
import { total } from "./norms.ts";
import { stateName } from "./per-parameter.ts";
import type { GradientTransform } from "./transform.ts";

/** What a learned task leaves behind: the weights after it and how much it needs each of them. */
export interface EwcTask {
  /** Parameters after the task, by name. Parameters that it does not name are free. */
  readonly anchor: Readonly<Record<string, Tensor>>;
  /** Diagonal of the Fisher information there, of the same shapes: see `accumulateFisher`. */
  readonly fisher: Readonly<Record<string, Tensor>>;
}

const specs = { lambda: nonNegative(undefined, "strength of the springs") };

/**
 * Elastic weight consolidation: springs that hold weights where a learned task left them, as stiff as the task needs
 * them: adds λ F (p − anchor) to the gradient, the gradient of λ / 2 · Σ F (p − anchor)², for every task. For the start
 * of a chain. State: `ewc_anchor_<task>`, `ewc_fisher_<task>`, which stay as they are.
 * Source: Kirkpatrick et al. 2017, arXiv:1612.00796, equation 3. Throws `SHAPE_MISMATCH` where a task does not fit.
 */
export function ewc(tasks: readonly EwcTask[], options: { readonly lambda: number }): GradientTransform {
  const { lambda } = parseOptions(specs, options, "ewc");
  return {
    name: "ewc",
    init(parameters) {
      const state: Record<string, Tensor> = {};
      for (const [index, { anchor, fisher }] of tasks.entries()) {
        for (const [name, { shape }] of Object.entries(parameters)) {
          if (anchor[name] === undefined || fisher[name] === undefined) continue;
          for (const [slot, tensor] of [
            [`ewc_anchor_${index}`, anchor[name]],
            [`ewc_fisher_${index}`, fisher[name]],
          ] as const) {
            requireShape(name, shape, slot, tensor.shape);
            state[stateName(slot, name)] = tensor;
          }
        }
      }
      return state;
    },
    transform({ gradients, parameters, state }) {
      const pulled = Object.entries(gradients).map(([name, gradient]) => {
        let sum = gradient;
        for (const index of tasks.keys()) {
          const fisher = state[stateName(`ewc_fisher_${index}`, name)];
          if (fisher === undefined) continue;
          const distance = sub(parameters[name], state[stateName(`ewc_anchor_${index}`, name)]);
          sum = add(sum, mul(mul(fisher, distance), lambda));
        }
        return [name, sum] as const;
      });
      const kept = Object.entries(state).filter(([key]) => /^ewc_(anchor|fisher)_\d+\//.test(key));
      return {
        gradients: Object.fromEntries(pulled),
        state: Object.fromEntries(kept.map(([key, value]) => [key, identity(value)])),
      };
    },
  };
}

/** λ / 2 · Σ F (p − anchor)² over all tasks and their parameters; a scalar. The authors of CLASSP leave the half out. */
export function ewcPenalty(
  parameters: Readonly<Record<string, Value>>,
  tasks: readonly { readonly [K in keyof EwcTask]: Readonly<Record<string, Value>> }[],
  lambda: number,
): Value {
  const terms = tasks.flatMap(({ anchor, fisher }) =>
    Object.keys(anchor)
      .filter((name) => fisher[name] !== undefined && parameters[name] !== undefined)
      .map((name) => reduceSum(mul(fisher[name], square(sub(parameters[name], anchor[name]))), undefined, false)),
  );
  return mul(total(terms), lambda / 2);
}

/**
 * F + share · g² by parameter: one sample's gradient of its log-likelihood added to a diagonal Fisher information; with
 * `share` 1 / (number of samples) the sum over all samples is their mean. Labels as they are give the empirical Fisher,
 * labels of the model's own distribution (each weighted by its probability) the true one.
 */
export function accumulateFisher(
  fisher: Readonly<Record<string, Value>>,
  gradients: Readonly<Record<string, Value>>,
  share: number,
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(fisher).map(([name, value]) => [
      name,
      gradients[name] === undefined ? value : add(value, mul(square(gradients[name]), share)),
    ]),
  );
}

/** gamma · old + new by parameter: one Fisher for all tasks so far, so that memory does not grow with them. */
export function onlineFisher(
  old: Readonly<Record<string, Value>>,
  added: Readonly<Record<string, Value>>,
  gamma: number,
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(added).map(([name, value]) => [
      name,
      old[name] === undefined ? value : add(mul(old[name], gamma), value),
    ]),
  );
}

function requireShape(name: string, shape: readonly number[], slot: string, found: readonly number[]): void {
  if (shape.length === found.length && shape.every((size, axis) => size === found[axis])) return;
  throw shapeMismatch({
    where: "ewc",
    tensor: name,
    expected: { from: "the parameter", shape },
    got: { from: slot, shape: found },
  });
}
