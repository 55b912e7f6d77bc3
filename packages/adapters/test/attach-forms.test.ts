import {
  assemble,
  conv,
  gradient,
  input,
  lazyTensor,
  matMulNBits,
  mul,
  parameter,
  reduceSum,
  stateValue,
} from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { fromData, type Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { attach } from "../src/attach/index.ts";
import { dora, lora } from "../src/index.ts";
import { testRandom } from "./contract.ts";
import { valuesOf } from "./memory.ts";

let runtime: Awaited<ReturnType<typeof createRuntime>>;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

const numbers = (name: string, shape: readonly number[]) => testRandom().uniform(name, shape, -1, 1);
const largest = (a: Tensor, b: Tensor) => {
  expect(a.shape).toEqual(b.shape);
  const [x, y] = [valuesOf(a), valuesOf(b)];
  return x.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i])), 0);
};

test("a strided, dilated convolution with LoRA is the convolution with the folded kernel", async () => {
  const kernel = numbers("kernel", [6, 3, 3, 2]);
  const x = input("x", "float32", [2, 3, 9, 8]);
  const weight = parameter("features.0.weight", lazyTensor(kernel));
  const options = { strides: [2, 1], dilations: [1, 2], pads: [1, 0, 1, 0] };
  const model = assemble({
    name: "conv",
    inputs: [x],
    outputs: { y: conv(x, weight, parameter("features.0.bias", lazyTensor(numbers("bias", [6]))), options) },
  });
  const attached = await attach(model, undefined, { method: lora, options: { rank: 2, alpha: 3 }, targets: ["0"] });
  const values = { A: numbers("A", [2, 18]), B: numbers("B", [6, 2]) };
  const [a, b] = [valuesOf(values.A), valuesOf(values.B)];
  const folded = Float32Array.from(valuesOf(kernel), (value, i) => {
    const [o, k] = [Math.floor(i / 18), i % 18];
    return value + 1.5 * (b[o * 2] * a[k] + b[o * 2 + 1] * a[18 + k]);
  });
  const { outputs } = attached.instantiate({ parameters: { "features.0.A": values.A, "features.0.B": values.B } });
  const expected = attached.instantiate({
    active: [],
    weights: { "features.0.weight": fromData("float32", folded, [6, 3, 3, 2]) },
  });
  const feeds = { x: numbers("x", [2, 3, 9, 8]) };
  const ours = await runtime.evaluate({ y: outputs.y }, feeds);
  const theirs = await runtime.evaluate({ y: expected.outputs.y }, feeds);
  expect(largest(ours.y, theirs.y)).toBeLessThan(2e-5);
});

test("4-bit weights: adapters in front of and behind them learn, the codes stay", async () => {
  const codes = (seed: number) =>
    fromData(
      "uint8",
      Uint8Array.from({ length: 32 * 16 }, (_, i) => (i * 37 + seed * 11) % 256),
      [32, 1, 16],
    );
  const x = input("x", "float32", [4, 32]);
  const layer = (value: typeof x, path: string, seed: number) =>
    matMulNBits(
      value,
      parameter(`${path}.weight_Q4`, lazyTensor(codes(seed))),
      parameter(`${path}.weight_scales`, lazyTensor(numbers(`s${seed}`, [32, 1]))),
      { k: 32, n: 32, bits: 4, blockSize: 32 },
    );
  const y = layer(layer(x, "layers.0.up", 1) as typeof x, "layers.1.up", 2);
  const model = assemble({ name: "q4", inputs: [x], outputs: { y } });
  for (const method of [lora, dora]) {
    const attached = await attach(model, undefined, { method, options: { rank: 2, alpha: 2 }, targets: ["up"] });
    expect([...attached.adapters[0].modules.keys()]).toEqual(["layers.0.up", "layers.1.up"]);
    const fresh = await runtime.evaluate({ y: attached.instantiate().outputs.y }, { x: numbers("x", [4, 32]) });
    const plain = await runtime.evaluate(
      { y: attached.instantiate({ active: [] }).outputs.y },
      { x: numbers("x", [4, 32]) },
    );
    const size = valuesOf(plain.y).reduce((most, each) => Math.max(most, Math.abs(each)), 0);
    expect(largest(fresh.y, plain.y) / size).toBeLessThan(1e-5); // DoRA's magnitudes are the norms of the codes' numbers
    const start = Object.fromEntries(
      Object.entries(attached.parameters).map(([name, tensor]) => [
        name,
        name.endsWith(".B") ? numbers(name, tensor.shape) : tensor,
      ]),
    );
    const state = await runtime.state(start);
    const parameters = Object.fromEntries(
      Object.entries(start).map(([name, { shape }]) => [name, stateValue(name, "float32", shape)]),
    );
    const { outputs } = attached.instantiate({ parameters });
    const loss = mul(reduceSum(mul(outputs.y, outputs.y), undefined, false), 1e-4);
    const program = await runtime.compile({ outputs: { loss, ...gradient(loss, parameters) } }, state);
    const feeds = { x: numbers("x", [4, 32]) };
    const { loss: before, ...slopes } = await program.run(feeds);
    expect(Object.keys(slopes)).toHaveLength(method === lora ? 4 : 6);
    for (const [name, slope] of Object.entries(slopes)) {
      expect(
        valuesOf(slope).some((each) => Math.abs(each) > 1e-6),
        name,
      ).toBe(true);
    }
    // A step against the gradient lowers the loss as much as the gradient says.
    const squares = Object.values(slopes).reduce(
      (sum, slope) => sum + valuesOf(slope).reduce((a, g) => a + g * g, 0),
      0,
    );
    const step = (1e-4 * Number(before.data[0])) / squares;
    await state.write(
      Object.fromEntries(
        Object.entries(start).map(([name, tensor]) => {
          const [p, g] = [valuesOf(tensor), valuesOf(slopes[name])];
          return [
            name,
            fromData(
              "float32",
              Float32Array.from(p, (value, i) => value - step * g[i]),
              tensor.shape,
            ),
          ];
        }),
      ),
    );
    const after = await program.run(feeds);
    const ratio = (Number(before.data[0]) - Number(after.loss.data[0])) / (step * squares);
    // DoRA's norm counts as a constant in the gradient, not in the loss.
    if (method === lora) expect(Math.abs(ratio - 1)).toBeLessThan(0.05);
    else expect(ratio).toBeGreaterThan(0);
    await program.close();
    await state.close();
  }
});
