import { mul, reshape, sub } from "@loomweight/graph";
import { belowOne, boolean, choice, elementCount, integer, LoomweightError, nonNegative } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { movingAverage } from "../moments.ts";
import { newtonSchulz } from "../newton-schulz.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { decoupledDecay } from "../weight-decay.ts";

/**
 * Muon: b ← momentum b + (1 − momentum) g; u = Nesterov's momentum b + (1 − momentum) g, or b; p ← p (1 − lr
 * weightDecay) − lr · s · NS(u), NS the Newton–Schulz iteration towards the nearest orthogonal matrix.
 * s = √max(1, out / in) (`original`) or 0.2 √max(out, in) (`adamw-rms`: the size of AdamW's steps).
 * For hidden weights; tensors of more axes are taken as [out, rest]. State: `momentum_buffer`.
 * Source: Jordan 2024, kellerjordan.github.io/posts/muon; arXiv:2502.16982 for `adamw-rms`; as torch.optim.Muon.
 * Differs: the iteration runs in the parameter's dtype, torch's in bfloat16.
 */
export const muon = defineOptimizer({
  name: "muon",
  source: "arXiv:2502.16982",
  summary: "Steps along the nearest orthogonal matrix to an average of gradients; for hidden weights.",
  learningRate: 0.02,
  options: {
    momentum: belowOne(0.95, "decay rate of the average of gradients"),
    nesterov: boolean(true, "looks one momentum step ahead"),
    weightDecay: nonNegative(0.1, "share of the weight taken away, times the learning rate"),
    iterations: integer(5, "Newton–Schulz steps", { min: 1, max: 99 }),
    epsilon: nonNegative(1e-7, "lower bound of the norm the iteration starts from"),
    scale: choice(["original", "adamw-rms"], "original", "how steps depend on the matrix's shape"),
  },
  build: ({ momentum, nesterov, weightDecay, iterations, epsilon, scale }) =>
    perParameter("muon", {
      init(parameter, name) {
        if (parameter.shape.length < 2) throw notAMatrix(name, parameter.shape);
        return { momentum_buffer: zerosLike(parameter) };
      },
      scalars: (_, learningRate) => ({ learningRate, keep: 1 - learningRate * weightDecay }),
      update({ shape, gradient, parameter, state, scalars }) {
        const average = movingAverage(state.momentum_buffer, gradient, momentum);
        const direction = nesterov ? movingAverage(average, gradient, momentum) : average;
        const [rows, columns] = [shape[0], elementCount(shape.slice(1))];
        const matrix = shape.length === 2 ? direction : reshape(direction, [rows, columns]);
        const orthogonal = newtonSchulz(matrix, iterations, epsilon);
        const factor =
          scale === "original" ? Math.sqrt(Math.max(1, rows / columns)) : 0.2 * Math.sqrt(Math.max(rows, columns));
        const update = shape.length === 2 ? orthogonal : reshape(orthogonal, shape);
        return {
          parameter: sub(
            decoupledDecay(parameter, scalars.keep, weightDecay),
            mul(mul(update, factor), scalars.learningRate),
          ),
          state: { momentum_buffer: average },
        };
      },
    }),
});

function notAMatrix(tensor: string, shape: readonly number[]): LoomweightError {
  return new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: "muon: takes matrices only",
    tensor,
    expected: "two axes or more",
    found: `[${shape}]`,
    fix: "Give vectors to another optimizer: groups([{ parameters: isMatrix, optimizer: muon() }], adamw()).",
  });
}
