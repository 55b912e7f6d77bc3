import {
  add,
  assemble,
  gelu,
  input,
  layerNormalization,
  lazyTensor,
  named,
  type OnnxModel,
  parameter,
  relu,
  type Value,
} from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { full } from "@loomweight/tensor";
import { testRandom } from "./contract.ts";

export const [width, hidden] = [6, 10];
const weight = (name: string, shape: number[]) =>
  parameter(name, lazyTensor(testRandom().uniform(name, shape, -0.5, 0.5)));

/** Two pre-norm blocks with an MLP each. */
export function twoBlocks(): OnnxModel {
  const x = input("x", "float32", [4, width]);
  let h: Value = x;
  for (let i = 0; i < 2; i++) {
    h = named(`blocks.${i}`, () => {
      const ones = parameter(`blocks.${i}.norm.weight`, lazyTensor(full([width], 1)));
      const u = named("norm", () => layerNormalization(h, ones, undefined, { epsilon: 1e-6, axis: -1 }));
      const m = named("mlp", () => {
        const z = named("fc1", () =>
          linearOf(u, weight(`blocks.${i}.fc1.weight`, [hidden, width]), weight(`blocks.${i}.fc1.bias`, [hidden])),
        );
        const a = named("act", () => (i === 0 ? relu(z) : gelu(z)));
        return named("fc2", () =>
          linearOf(a, weight(`blocks.${i}.fc2.weight`, [width, hidden]), weight(`blocks.${i}.fc2.bias`, [width])),
        );
      });
      return add(h, m);
    });
  }
  return assemble({ name: "two blocks", inputs: [x], outputs: { y: h } });
}
