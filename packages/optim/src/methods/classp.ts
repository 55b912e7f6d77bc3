import { abs, add, cast, div, greater, mul, pow, reduceMax, sqrt, sub, type Value } from "@loomweight/graph";
import { boolean, choice, nonNegative, positive } from "@loomweight/tensor";
import { defineOptimizer } from "../define.ts";
import { square } from "../moments.ts";
import { perParameter, zerosLike } from "../per-parameter.ts";
import { positiveMask } from "../sign.ts";

/**
 * CLASSP: for training on task after task. Only entries with g² > threshold move, and those that have already received
 * much gradient move less: S ← S + |g|^power; p ← p − lr g / (S + epsilon)^(1 / power), entry by entry. S is kept from
 * task to task. `scaled` false moves by lr · g and still sums: the importance of a first task is then recorded.
 * `variant: "reference-code"` reproduces the authors' program, which differs from the paper: the gate is one for the
 * whole tensor (open below a threshold of 1 where any gradient is not 0), and S always sums |g|.
 * State: `grad_sum`. Source: Ludwig 2024, arXiv:2405.09637; oswaldoludwig/CLASSP ea3fe3c67279.
 * Differs: `threshold` defaults to 0; the authors' 0.5 is on squared gradients and would close almost every gate.
 */
export const classp = defineOptimizer({
  name: "classp",
  source: "arXiv:2405.09637",
  summary: "Slows down weights that have received much gradient, for learning task after task.",
  learningRate: 0.2,
  options: {
    threshold: nonNegative(0, "squared gradient from which an entry moves; try 1e-5 to 1e-4"),
    epsilon: positive(1e-5, "added to the sum under the root"),
    power: positive(1, "power of the gradients in the sum; 2 is Adagrad"),
    scaled: boolean(true, "divides steps by the root of the sum"),
    variant: choice(["paper", "reference-code"], "paper", "the paper's rule, or what the authors' program computes"),
  },
  build({ threshold, epsilon, power, scaled, variant }) {
    const paper = variant === "paper";
    const raised = (size: Value) => (power === 1 ? size : power === 2 ? square(size) : pow(size, power));
    const rooted = (sum: Value) => (power === 1 ? sum : power === 2 ? sqrt(sum) : pow(sum, 1 / power));
    const gate = (gradient: Value) => {
      if (paper) return cast(greater(square(gradient), threshold), gradient.dtype);
      // The authors' `any(g²)` is 0 or 1, and is compared with the threshold as a number.
      return mul(positiveMask(reduceMax(abs(gradient), undefined, false)), threshold < 1 ? 1 : 0);
    };
    return perParameter("classp", {
      init: (parameter) => ({ grad_sum: zerosLike(parameter) }),
      scalars: (_, learningRate) => ({ learningRate }),
      update({ gradient, parameter, state, scalars }) {
        const seen = mul(gradient, gate(gradient));
        const sum = add(state.grad_sum, paper ? raised(abs(seen)) : abs(seen));
        const direction = scaled ? div(seen, rooted(add(sum, epsilon))) : seen;
        return { parameter: sub(parameter, mul(direction, scalars.learningRate)), state: { grad_sum: sum } };
      },
    });
  },
});
