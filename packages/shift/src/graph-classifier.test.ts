import { bytesSource } from "@loomweight/checkpoint";
import {
  add,
  assemble,
  div,
  encodeOnnx,
  type GraphValue,
  gemm,
  input,
  lazyTensor,
  matMul,
  mul,
  type OnnxModel,
  parameter,
  readOnnx,
  reduceMean,
  relu,
  softmax,
  sqrt,
  sub,
  type Value,
} from "@loomweight/graph";
import { groupNorm, rmsNorm } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { sgd } from "@loomweight/optim";
import { full, type Tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { normals, smallModel } from "../test/networks.ts";
import { plainRuntime } from "../test/plain-runtime.ts";
import { adapt, bnAdapt, lame, openGraphClassifier, tent } from "./index.ts";

const plain = { runtime: plainRuntime() };
const weight = (name: string, shape: readonly number[], value = 1) =>
  parameter(name, lazyTensor(full(shape, value, "float64")));

/** A model of one input [batch, 4, 2] or [batch, 4]. */
function modelOf(shape: readonly (string | number)[], build: (x: GraphValue) => Record<string, Value>): OnnxModel {
  const x = input("x", "float64", shape);
  return assemble({ name: "model", inputs: [x], outputs: build(x) });
}

describe("normalizations are found", () => {
  const normsOf = async (model: OnnxModel) => (await openGraphClassifier(model, plain)).norms;

  test("as operators, with the names of their weights", async () => {
    const [batch] = await normsOf(smallModel(1, "batch"));
    expect(batch).toMatchObject({
      kind: "batch",
      weight: "norm.weight",
      bias: "norm.bias",
      mean: "norm.running_mean",
      variance: "norm.running_var",
    });
    const [layer] = await normsOf(smallModel(1, "layer"));
    expect(layer).toMatchObject({ kind: "feature", weight: "norm.weight", bias: "norm.bias" });
  });

  test("as older exporters write them: centred / √(…) · γ + β", async () => {
    const model = modelOf(["batch", 4], (x) => {
      const centred = sub(x, reduceMean(x, [-1]));
      const deviation = sqrt(add(reduceMean(mul(centred, centred), [-1]), 1e-5));
      const normed = add(weight("ln.bias", [4]), mul(div(centred, deviation), weight("ln.weight", [4])));
      return { logits: matMul(normed, weight("head", [4, 3])) };
    });
    expect(await normsOf(model)).toMatchObject([{ kind: "feature", weight: "ln.weight", bias: "ln.bias" }]);
  });

  test("of groups and root mean squares, in plain operators", async () => {
    const model = modelOf([2, 4, 2], (x) => {
      const grouped = groupNorm({ "gn.weight": weight("gn.weight", [4]), "gn.bias": weight("gn.bias", [4]) }, "gn", x, {
        groups: 2,
      });
      const normed = rmsNorm({ "rms.weight": weight("rms.weight", [2]) }, "rms", grouped);
      return { logits: reduceMean(normed, [2], false) };
    });
    expect((await normsOf(model)).map(({ weight: scale, bias }) => [scale, bias])).toEqual([
      ["gn.weight", "gn.bias"],
      ["rms.weight", undefined],
    ]);
  });

  test("and nothing else: a plain scaling is none", async () => {
    const model = modelOf(["batch", 4], (x) => ({ logits: mul(relu(x), weight("scale", [4])) }));
    expect(await normsOf(model)).toEqual([]);
  });
});

describe("logits", () => {
  test("a Softmax at the end is left out, and TENT sees what is before it", async () => {
    const head = (x: GraphValue) => gemm(x, weight("head", [4, 3], 0.5));
    const bare = await openGraphClassifier(
      modelOf(["batch", 4], (x) => ({ logits: head(x) })),
      plain,
    );
    const ended = await openGraphClassifier(
      modelOf(["batch", 4], (x) => ({ probabilities: softmax(head(x), -1) })),
      plain,
    );
    const x = normals(1, [3, 4]);
    expect((await ended.classify(x)).logits).toEqual((await bare.classify(x)).logits);
  });

  test("features of an inner value feed LAME", async () => {
    const base = smallModel(1, "batch");
    const hidden = base.graph.nodes.find(({ op }) => op === "Relu")?.outputs[0] as string;
    const model = await openGraphClassifier(base, { ...plain, features: hidden });
    const { features } = await model.classify(normals(1, [5, 4]));
    expect(features?.shape).toEqual([5, 6]);
    const { probabilities } = await (await adapt(lame, model, { k: 2 })).step(normals(1, [5, 4]));
    expect(probabilities.shape).toEqual([5, 3]);
  });

  test("what is no classifier is refused by name", async () => {
    const open = (model: OnnxModel, more = {}) => openGraphClassifier(model, { ...plain, ...more });
    const [left, right] = [input("a", "float64", ["n", 2]), input("b", "float64", ["n", 2])];
    const two = assemble({ name: "two", inputs: [left, right], outputs: { sum: add(left, right) } });
    await expect(open(two)).rejects.toMatchObject({ code: "INVALID_CLASSIFIER" });
    const maps = await open(modelOf(["batch", 4, 2], (x) => ({ maps: mul(x, weight("w", [2])) })));
    await expect(maps.classify(normals(1, [2, 4, 2]))).rejects.toMatchObject({ code: "INVALID_CLASSIFIER" });
    await expect(open(smallModel(1, "batch"), { logits: "scores" })).rejects.toMatchObject({ code: "UNKNOWN_OUTPUT" });
    const unnamed = await open(smallModel(1, "batch"), { features: "nothing" });
    await expect(unnamed.classify(normals(1, [2, 4]))).rejects.toMatchObject({ code: "UNKNOWN_VALUE" });
  });
});

describe("an imported file of an older opset, by onnxruntime", () => {
  let runtime: Awaited<ReturnType<typeof createRuntime>>;
  beforeAll(async () => {
    runtime = await createRuntime({ threads: 1 });
  });
  afterAll(() => runtime.close());

  test("its batch normalization is adapted and trained, in float32", async () => {
    const built = smallModel(4, "batch", "float32");
    const bytes = await encodeOnnx({ ...built, irVersion: 6, opsets: { "": 9 } });
    const model = await openGraphClassifier(await readOnnx(bytesSource(bytes, "old.onnx")), { runtime });
    const wide = await openGraphClassifier(smallModel(4, "batch"), plain);
    const x = normals(3, [6, 4]);
    const narrow = normals(3, [6, 4], "float32");
    const near = (a: Tensor | undefined, b: Tensor | undefined) => {
      const [found, expected] = [toFloat64(a as Tensor), toFloat64(b as Tensor)];
      for (let i = 0; i < expected.length; i++) expect(Math.abs(found[i] - expected[i])).toBeLessThan(1e-5);
    };
    for (const mode of ["batch", "prior", "running"] as const) {
      const [a, b] = [await adapt(bnAdapt, model, { mode }), await adapt(bnAdapt, wide, { mode })];
      near((await a.step(narrow)).logits, (await b.step(x)).logits);
    }
    const options = { optimizer: sgd(), learningRate: 0.1 };
    const [a, b] = [await adapt(tent, model, options), await adapt(tent, wide, options)];
    for (let i = 0; i < 3; i++) near((await a.step(narrow)).logits, (await b.step(x)).logits);
    near(a.state["parameter/norm.weight"] as Tensor, b.state["parameter/norm.weight"] as Tensor);
    await model.close();
  });

  test("two adapters of one model do not disturb each other", async () => {
    const model = await openGraphClassifier(smallModel(5, "batch", "float32"), { runtime });
    const stream = [1, 2, 3].map((seed) => normals(seed, [6, 4], "float32"));
    const options = { optimizer: sgd(), learningRate: 0.1 };
    const alone = await adapt(tent, model, options);
    const expected = [];
    for (const x of stream) expected.push((await alone.step(x)).probabilities);
    const [a, b] = [await adapt(tent, model, options), await adapt(tent, model, { ...options, learningRate: 0.5 })];
    const found = [];
    for (const x of stream) found.push(...(await Promise.all([a.step(x), b.step(x)])));
    expect(found.filter((_, i) => i % 2 === 0).map(({ probabilities }) => probabilities)).toEqual(expected);
    // Old states of the same adapter too: an update is a function of state and batch.
    const kept = a.state;
    await a.step(stream[0]);
    const again = await adapt(tent, model, { ...options, state: kept });
    await again.step(stream[0]);
    expect(again.state).toEqual(a.state);
    await model.close();
  });
});
