import {
  encodeOnnx,
  evaluateTrace,
  gradient,
  input,
  reduceMean,
  relu,
  softplus,
  stateValue,
  type Value,
} from "@loomweight/graph";
import { convolution, crossEntropy, dropout, linear } from "@loomweight/graph/nn";
import { createRuntime, evaluate, openSession } from "@loomweight/graph/node";
import { adam, sgd } from "@loomweight/optim";
import {
  createRandom,
  equal,
  expectClose,
  fromData,
  fromFloat64,
  slice,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Architecture,
  choice,
  chosenNetwork,
  convolutionSpace,
  countParameters,
  darts,
  defineSpace,
  drnas,
  extract,
  gdas,
  initialWeights,
  linearSpace,
  mixtureNetwork,
  type Network,
  type NetworkModel,
  networkModel,
  type SearchTask,
  search,
  spos,
  tanglenas,
} from "../src/index.ts";
import { forward } from "../src/search/forward.ts";
import { secondOrderStep } from "../src/search/second-order.ts";
import { drawnWeights } from "./network-contract.ts";
import { convolutional, fixedHeads, transformer } from "./networks.ts";

const width = choice("width", [1, 3]);
const kernel = choice("kernel", [1, 3]);
const space = defineSpace({
  ...convolutionSpace("conv", { inputs: 1, outputs: width, kernel }),
  ...linearSpace("head", { inputs: width, outputs: 2 }),
});
const logits = ({ weights, size }: Network, image: Value): Value => {
  const h = relu(convolution(weights, "conv", image, { padding: (size(kernel) - 1) / 2 }));
  return linear(weights, "head", reduceMean(h, [2, 3], false));
};

/** Vertical and horizontal stripes: only kernels of 3 × 3 tell them apart. */
function stripes(count: number, seed: number) {
  const image = new Float32Array(count * 36);
  createRandom(seed, "stripes").normalsInto(image, { deviation: 0.1 });
  const label = Int32Array.from({ length: count }, (_, n) => n % 2);
  for (let n = 0; n < count; n++)
    for (let i = 0; i < 36; i++) image[n * 36 + i] += (label[n] === 0 ? i : Math.floor(i / 6)) % 2;
  return { image: fromData("float32", image, [count, 1, 6, 6]), label: fromData("int32", label, [count]) };
}

let runtime: Awaited<ReturnType<typeof createRuntime>>;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(async () => runtime.close());

const task = (more: Partial<SearchTask> = {}): SearchTask => ({
  runtime,
  space,
  weights: initialWeights(space, 4),
  loss: (network, { image, label }) => crossEntropy(logits(network, image), label, { ignore: null }),
  sampler: darts(),
  batches: { architecture: [stripes(8, 1), stripes(8, 2)], weights: [stripes(8, 3), stripes(8, 4), stripes(8, 5)] },
  ...more,
});
const quick = { epochs: 2, stepsPerEpoch: 3, architectureRate: 0.05, seed: 3 };

async function run(given: SearchTask, options: Parameters<typeof search>[2] = quick) {
  const running = await search(tanglenas, given, options as typeof quick);
  const steps = [];
  for await (const step of running) steps.push(step);
  const found = { steps, weights: await running.weights(), probabilities: await running.probabilities() };
  await running.close();
  return found;
}

describe("a search", () => {
  test("learns what the data needs: the large kernel, and the loss falls", async () => {
    const running = await search(tanglenas, task({ weightOptimizer: adam(), learningRate: 0.06 }), {
      epochs: 4,
      stepsPerEpoch: 15,
      architectureRate: 0.05,
    });
    const losses: number[] = [];
    for await (const { loss } of running) losses.push(loss);
    expect(losses).toHaveLength(60);
    expect(losses[59]).toBeLessThan(0.3 * losses[0]);
    expect((await running.architecture()).kernel).toBe(3);
    const { kernel: p } = await running.probabilities();
    expect(p[1]).toBeGreaterThan(0.6);
    await running.close();
  });

  test.each([darts(), darts({ relaxation: "sparsemax" }), drnas(), gdas(), spos()])(
    "$name: the same seed gives the same search, and one that was interrupted goes on bit by bit",
    async (sampler) => {
      const [whole, again] = [await run(task({ sampler })), await run(task({ sampler }))];
      expect(again).toEqual(whole);
      expect(whole.steps.map(({ step, epoch }) => [step, epoch])).toEqual([
        [1, 0],
        [2, 0],
        [3, 0],
        [4, 1],
        [5, 1],
        [6, 1],
      ]);
      expect(whole.steps.every(({ architectureLoss }) => (architectureLoss === undefined) === !sampler.trains)).toBe(
        true,
      );
      const first = await search(tanglenas, task({ sampler }), quick);
      let steps = 0;
      for await (const _ of first) if (++steps === 2) break;
      const resume = structuredClone(await first.snapshot());
      await first.close();
      const rest = await run(task({ sampler, resume }));
      expect(rest.steps).toEqual(whole.steps.slice(2));
      for (const [name, tensor] of Object.entries(whole.weights))
        expect(equal(rest.weights[name], tensor), name).toBe(true);
      expect(rest.probabilities).toEqual(whole.probabilities);
    },
  );

  test.each([gdas(), spos()])("$name: slices and masks are the same search", async (sampler) => {
    const [slices, masks] = [
      await run(task({ sampler }), { ...quick, compute: "slice" }),
      await run(task({ sampler }), { ...quick, compute: "mask" }),
    ];
    for (const [name, tensor] of Object.entries(slices.weights)) expectClose(masks.weights[name], tensor, 1e-5);
    for (const [name, p] of Object.entries(slices.probabilities))
      for (const [i, each] of p.entries()) expect(masks.probabilities[name][i]).toBeCloseTo(each, 5);
  });

  test("spos leaves alpha as it is and names no architecture", async () => {
    const { probabilities } = await run(task({ sampler: spos() }));
    expect(probabilities).toEqual({ width: [0.5, 0.5], kernel: [0.5, 0.5] });
    const running = await search(tanglenas, task({ sampler: spos() }), quick);
    await expect(running.architecture()).rejects.toThrow(/spos learns no architecture/);
    await running.close();
  });

  test("a cost pulls the expected size below its target", async () => {
    const size = async (weight: number) => {
      const { steps } = await run(task({ cost: { target: 12, weight } }), {
        ...quick,
        stepsPerEpoch: 30,
        architectureRate: 0.1,
      });
      return steps[steps.length - 1].expectedSize as number;
    };
    const [free, held] = [await size(0), await size(5)];
    expect(held).toBeLessThan(13);
    expect(held).toBeLessThan(free - 3);
    expect(countParameters(space, { width: 1, kernel: 1 })).toBe(6);
  });

  test("second order, dropout and schedules run; draws differ from step to step", async () => {
    const given = task({
      learningRate: (step) => 0.05 / (step + 1),
      loss: (network, { image, label }, { random }) =>
        crossEntropy(dropout(logits(network, image), 0.5, random, "logits"), label, { ignore: null }),
    });
    const second = await run(given, { ...quick, secondOrder: true } as typeof quick);
    const first = await run(given);
    expect(second.steps).toHaveLength(6);
    expect(second.probabilities).not.toEqual(first.probabilities);
    expect(new Set(first.steps.map(({ loss }) => loss)).size).toBe(6);
  });

  test("what does not fit is refused by name", async () => {
    const refused = async (more: Partial<SearchTask>, options: object, says: RegExp) =>
      expect(search(tanglenas, task(more), { ...quick, ...options })).rejects.toThrow(says);
    await refused({}, { architectureRate: 0 }, /architectureRate/);
    await refused({}, { epoch: 3 }, /unknown option/);
    await refused({ sampler: gdas() }, { epochs: 1 }, /2 epochs or more/);
    await refused({ sampler: drnas() }, { secondOrder: true }, /secondOrder/);
    await refused({ weights: {} }, {}, /conv.weight/);
    await refused(
      { weights: { ...initialWeights(space), "head.bias": fromFloat64(new Float64Array(2), [2], "float64") } },
      {},
      /head.bias/,
    );
    await refused({ cost: { target: 0, weight: 1 } }, {}, /cost.target/);
    await refused({ resume: { step: 1, tensors: {} } }, {}, /snapshot is of another search/);
    await expect(run(task({ batches: { architecture: [], weights: [stripes(8, 1)] } }))).rejects.toThrow(
      /"architecture" ran out/,
    );
    await expect(run(task({ batches: { architecture: () => [], weights: [stripes(8, 1)] } }))).rejects.toThrow(
      /ran out/,
    );
    await expect(run(task({ loss: (network, { image }) => logits(network, image) }))).rejects.toThrow(
      /a loss is one float/,
    );
    await expect(run(task({ signal: AbortSignal.abort() }))).rejects.toThrow(/stopped after step 0/);
    await expect(run(task({ learningRate: 1e30, weightOptimizer: sgd() }))).rejects.toThrow(/is (NaN|Infinity)/);
  });
});

test("second order is the derivative of the loss behind one step of the weights, in float64", () => {
  const weights = drawnWeights(space, "float64");
  const alphas = { width: [0.2, -0.1], kernel: [0.4, 0.1] };
  const [rate, momentum, weightDecay] = [0.3, 0.9, 0.01];
  const values = (tensors: Readonly<Record<string, Tensor>>, prefix = "") =>
    Object.fromEntries(
      Object.entries(tensors).map(([name, { shape }]) => [name, stateValue(`${prefix}${name}`, "float64", shape)]),
    );
  const tensors = (numbers: Readonly<Record<string, readonly number[]>>): Record<string, Tensor> =>
    Object.fromEntries(
      Object.entries(numbers).map(([name, each]) => [
        name,
        fromFloat64(Float64Array.from(each), [each.length], "float64"),
      ]),
    );
  const buffers = Object.fromEntries(
    Object.entries(weights).map(([name, { shape }]) => [
      name,
      fromFloat64(
        Float64Array.from(toFloat64(weights[name]), (each) => each / 7),
        shape,
        "float64",
      ),
    ]),
  );
  const batch = (seed: number, prefix: string) => {
    const { image, label } = stripes(4, seed);
    return { [`${prefix}image`]: fromFloat64(toFloat64(image), image.shape, "float64"), [`${prefix}label`]: label };
  };
  const inputs = (prefix: string) => ({
    image: input(`${prefix}image`, "float64", [4, 1, 6, 6]),
    label: input(`${prefix}label`, "int32", [4]),
  });
  // Smooth everywhere, so that finite differences agree to their second order.
  const design = {
    space,
    sampler: darts(),
    loss: (network: Network, { image, label }: Readonly<Record<string, Value>>) => {
      const h = convolution(network.weights, "conv", image, { padding: (network.size(kernel) - 1) / 2 });
      return crossEntropy(linear(network.weights, "head", reduceMean(softplus(h), [2, 3], false)), label, {
        ignore: null,
      });
    },
  };
  const optimizer = { optimizer: sgd(), state: {}, scalars: { learningRate: input("rate of alpha", "float64", []) } };
  const made = secondOrderStep(
    design,
    {
      weights: values(weights),
      alphas: values(tensors(alphas), "alpha/"),
      batch: inputs("a/"),
      weightBatch: inputs("w/"),
      draws: { width: {}, kernel: {} },
    },
    optimizer,
    {
      rate: fromFloat64(Float64Array.of(rate), [], "float64"),
      momentum,
      buffers: values(buffers, "buffer/"),
      weightDecay,
    },
  );
  const fed = (at: Readonly<Record<string, readonly number[]>>) => ({
    ...weights,
    ...batch(1, "a/"),
    ...batch(2, "w/"),
    ...Object.fromEntries(Object.entries(tensors(at)).map(([name, each]) => [`alpha/${name}`, each])),
    ...Object.fromEntries(Object.entries(buffers).map(([name, each]) => [`buffer/${name}`, each])),
  });
  const found = evaluateTrace(made.gradients, fed(alphas));
  /** The loss after the step, as a function of alpha alone. */
  const after = (at: Readonly<Record<string, readonly number[]>>): number => {
    const own = values(weights);
    const pass = forward(design, own, values(tensors(at), "alpha/"), inputs("w/"), { width: {}, kernel: {} });
    const slopes = evaluateTrace(gradient(pass.loss, own), fed(at));
    const moved = Object.fromEntries(
      Object.entries(weights).map(([name, { shape }]) => {
        const [w, g, b] = [weights[name], slopes[name], buffers[name]].map(toFloat64);
        return [
          name,
          fromFloat64(
            w.map((each, i) => each - rate * (g[i] + momentum * b[i] + weightDecay * each)),
            shape,
            "float64",
          ),
        ];
      }),
    );
    const later = forward(design, moved, tensors(at), batch(1, ""), { width: {}, kernel: {} });
    return toFloat64(later.loss as Tensor)[0];
  };
  for (const name of ["width", "kernel"] as const) {
    for (const i of [0, 1]) {
      const moved = (by: number) =>
        after({ ...alphas, [name]: alphas[name].map((each, j) => (j === i ? each + by : each)) });
      const slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
      expect(toFloat64(found[name])[i] / slope, `${name} ${i}`).toBeCloseTo(1, 3); // a finite difference of radius 0.01
    }
  }
});

describe("exported networks", () => {
  const picked: readonly [NetworkModel, ReturnType<typeof convolutional>, Architecture][] = [
    [convolutional("float32").model, convolutional("float32"), { width: 2, kernel: 3, operation: 1 }],
    [transformer().model, transformer(), { width: 4, heads: 2, ratio: 2, depth: 1 }],
    [fixedHeads("float32").model, fixedHeads("float32"), { heads: 2 }],
  ];
  test.each(picked)(
    "are plain ONNX graphs whose outputs are the supernet's (%#)",
    async (model, example, architecture) => {
      const weights = drawnWeights(example.space, "float32");
      const own = extract(example.space, weights, architecture);
      const onnx = networkModel(model, { ...example, weights, architecture });
      for (const [name, { data }] of onnx.graph.initializers) {
        if (own[name] !== undefined) expect(equal(await data.read(), own[name]), name).toBe(true);
      }
      expect(
        [...onnx.graph.initializers.keys()].filter((name) => name in own && name in example.space.parameters).length,
      ).toBeGreaterThan(4);
      expect(onnx.graph.nodes.some(({ op }) => op === "Pad" || op === "ScatterND")).toBe(false);
      const feeds = Object.fromEntries(
        Object.entries(example.inputs).map(([name, { dtype, shape }]) => {
          const count = (shape as number[]).reduce((a, b) => a * b, 1);
          return [
            name,
            dtype === "int32"
              ? fromData(
                  "int32",
                  Int32Array.from({ length: count }, (_, i) => i % 5),
                  shape as number[],
                )
              : fromData(
                  "float32",
                  Float32Array.from({ length: count }, (_, i) => Math.sin(i)),
                  shape as number[],
                ),
          ];
        }),
      );
      const session = await openSession(await encodeOnnx(onnx));
      const found = Object.values(await session.run(feeds))[0];
      await session.close();
      const oneHot = Object.fromEntries(
        Object.values(example.space.decisions).map(({ name, choices }) => [
          name,
          fromData(
            "float32",
            Float32Array.from(choices, (each) => Number(each === architecture[name])),
            [choices.length],
          ),
        ]),
      );
      const supernet = model(mixtureNetwork(example.space, weights, oneHot), example.inputs);
      const [whole] = Object.values(await evaluate(supernet, feeds));
      const ranges = found.shape.map((end) => ({ start: 0, end }));
      expectClose(slice(whole, ranges), found, 1e-5);
      const alone = model(chosenNetwork(example.space, weights, architecture), example.inputs);
      expectClose(Object.values(await evaluate(alone, feeds))[0], found, 1e-5);
    },
  );
});
