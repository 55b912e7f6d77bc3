import { zeros } from "@loomweight/tensor";
import { add, div, mul, sqrt, sub, type Value } from "../../src/index.ts";
import type { Optimizer } from "../../src/training/index.ts";

const each = (names: readonly string[], make: (name: string) => Value): Record<string, Value> =>
  Object.fromEntries(names.map((name) => [name, make(name)]));

/** p - lr · g; enough to test the loop with. */
export const sgd: Optimizer = {
  name: "sgd",
  init: () => ({}),
  scalars: (_, learningRate) => ({ learningRate }),
  update: ({ parameters, gradients, scalars }) => ({
    parameters: each(Object.keys(parameters), (name) =>
      sub(parameters[name], mul(gradients[name], scalars.learningRate)),
    ),
    state: {},
  }),
};

/** Adam with torch's defaults. */
export const adam: Optimizer = {
  name: "adam",
  init: (parameters) =>
    Object.fromEntries(
      Object.entries(parameters).flatMap(([name, { shape }]) => [
        [`exp_avg/${name}`, zeros(shape)],
        [`exp_avg_sq/${name}`, zeros(shape)],
      ]),
    ),
  scalars: (step, learningRate) => ({
    stepSize: learningRate / (1 - 0.9 ** step),
    correction: 1 / Math.sqrt(1 - 0.999 ** step),
  }),
  update({ parameters, gradients, state, scalars }) {
    const names = Object.keys(parameters);
    const first = each(names, (name) => add(mul(state[`exp_avg/${name}`], 0.9), mul(gradients[name], 0.1)));
    const second = each(names, (name) =>
      add(mul(state[`exp_avg_sq/${name}`], 0.999), mul(mul(gradients[name], gradients[name]), 0.001)),
    );
    return {
      parameters: each(names, (name) =>
        sub(
          parameters[name],
          mul(scalars.stepSize, div(first[name], add(mul(sqrt(second[name]), scalars.correction), 1e-8))),
        ),
      ),
      state: Object.fromEntries(
        names.flatMap((name) => [
          [`exp_avg/${name}`, first[name]],
          [`exp_avg_sq/${name}`, second[name]],
        ]),
      ),
    };
  },
};
