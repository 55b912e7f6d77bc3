import { add, mul, sub } from "@loomweight/graph";
import { belowOne, boolean, nonNegative, positive, unitInterval } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { decayFactor, projectScaleInvariant } from "../projection.ts";

/**
 * SGDP: SGD with momentum whose update loses its radial part on weights whose scale does not matter.
 * u ← momentum u + (1 − dampening) g, at the first step too; q = u, with Nesterov g + momentum u; q is projected for
 * tensors of two axes or more; p ← p (1 − lr · weightDecay · r / (1 − momentum)) − lr q.
 * Without Nesterov the buffer itself is projected, as in the authors' code; `projectBuffer` false keeps it whole, as the
 * paper and timm.
 * State: `momentum`. Source: Heo et al. 2021, arXiv:2006.08217, as clovaai/AdamP.
 */
export const sgdp = defineOptimizer({
  name: "sgdp",
  source: "arXiv:2006.08217",
  summary: "SGD with momentum without the radial part of updates of scale-invariant weights.",
  learningRate: 0.1,
  options: {
    momentum: belowOne(0, "share of the buffer that stays at every step"),
    dampening: unitInterval(0, "share of the gradient left out of the buffer"),
    nesterov: boolean(false, "looks one momentum step ahead"),
    epsilon: positive(1e-8, "lower bound of norms"),
    weightDecay: nonNegative(0, "share of the weight taken away, times the learning rate over 1 − momentum"),
    delta: nonNegative(0.1, "how near to orthogonal weight and gradient must be; 0 never projects"),
    decayRatio: unitInterval(0.1, "factor of the weight decay of projected tensors"),
    projectBuffer: boolean(true, "without nesterov, the buffer loses its radial part too"),
  },
  build({ momentum, dampening, nesterov, epsilon, weightDecay, delta, decayRatio, projectBuffer }) {
    return perParameter("sgdp", {
      init: (parameter) => ({ momentum: zerosLike(parameter) }),
      scalars(_, learningRate) {
        const decay = (learningRate * weightDecay) / (1 - momentum);
        return { learningRate, decay, keep: 1 - decay };
      },
      update({ shape, gradient, parameter, state, scalars }) {
        const buffer = add(mul(state.momentum, momentum), mul(gradient, 1 - dampening));
        const update = nesterov ? add(gradient, mul(buffer, momentum)) : buffer;
        if (shape.length < 2) {
          const kept = weightDecay === 0 ? parameter : mul(parameter, scalars.keep);
          return { parameter: sub(kept, mul(update, scalars.learningRate)), state: { momentum: buffer } };
        }
        const projection = projectScaleInvariant({ parameter, gradient, update }, { delta, epsilon });
        const kept =
          weightDecay === 0
            ? parameter
            : mul(parameter, sub(1, mul(decayFactor(projection, decayRatio), scalars.decay)));
        return {
          parameter: sub(kept, mul(projection.update, scalars.learningRate)),
          state: { momentum: projectBuffer && !nesterov ? projection.update : buffer },
        };
      },
    });
  },
});
