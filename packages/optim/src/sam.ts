import { abs, add, div, mul } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { boolean, nonNegative, type OptionValues, parseOptions } from "@loomweight/tensor";
import { square } from "./moments.ts";
import { globalNorm } from "./norms.ts";

const specs = {
  rho: nonNegative(0.05, "how far away the gradient is taken"),
  adaptive: boolean(false, "distances in proportion to the weights (ASAM); rho of 0.5 to 2"),
};

/**
 * Sharpness-aware minimization around any optimizer: the gradient is taken a second time at p + e,
 * e = rho · s² g / |s g|, the norm over all tensors together, s = 1 or with `adaptive` |p|; the optimizer steps from p with
 * it. Two forward and backward passes a step. Around the optimizer alone: `chain(sam(adamw()), ema())`; inside `groups`
 * the norm is the group's.
 * Source: Foret et al. 2021, arXiv:2010.01412; Kwon et al. 2021, arXiv:2102.11600 for ASAM (its η is 0 here).
 */
export function sam(optimizer: Optimizer, options: Partial<OptionValues<typeof specs>> = {}): Optimizer {
  const { rho, adaptive } = parseOptions(specs, options, "sam");
  return {
    ...optimizer,
    name: `sam(${optimizer.name})`,
    update(call) {
      const entries = Object.entries(call.gradients);
      if (entries.length === 0) return optimizer.update(call);
      const scaled = entries.map(([name, g]) => (adaptive ? mul(abs(call.parameters[name]), g) : g));
      const factor = div(rho, add(globalNorm(scaled), 1e-12));
      const moved = entries.map(([name, g]) => {
        const parameter = call.parameters[name];
        const direction = adaptive ? mul(square(parameter), g) : g;
        return [name, add(parameter, mul(direction, factor))] as const;
      });
      const gradients = call.gradientsAt({ ...call.parameters, ...Object.fromEntries(moved) });
      return optimizer.update({ ...call, gradients });
    },
  };
}
