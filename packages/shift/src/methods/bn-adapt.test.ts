import { fromFloat64, full, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { batchNormed, classifierModel, normals, smallModel } from "../../test/networks.ts";
import { plainRuntime } from "../../test/plain-runtime.ts";
import { adapt, bnAdapt, openGraphClassifier } from "../index.ts";

const options = { runtime: plainRuntime() };
const x = tensor(
  [
    [1, 2],
    [3, 0],
    [2, 4],
  ],
  undefined,
  "float64",
);

/** One batch normalization whose output are the logits. */
async function normOnly(mean = 0, variance = 1) {
  const each = (value: number) => full([2], value, "float64");
  const weights = {
    "bn.weight": each(1),
    "bn.bias": each(0),
    "bn.running_mean": each(mean),
    "bn.running_var": each(variance),
  };
  const model = classifierModel(weights, 2, (input, weight) => batchNormed(input, "bn", weight));
  return openGraphClassifier(model, options);
}

const logitsOf = async (model: Awaited<ReturnType<typeof normOnly>>, batch: Tensor, given: object) => {
  const { logits } = await (await adapt(bnAdapt, model, given)).step(batch);
  return toFloat64(logits as Tensor);
};

test("worked example: statistics of the batch, and blended with N = 9 recorded samples", async () => {
  const model = await normOnly();
  const batch = await logitsOf(model, x, {});
  for (const [i, expected] of [-1.22474, 0, 1.22474, -1.22474, 0, 1.22474].entries())
    expect(batch[i]).toBeCloseTo(expected, 5);
  // mean (0.5, 0.5), variance (0.916667, 1.41667)
  const blended = await logitsOf(model, x, { mode: "prior", priorCount: 9 });
  expect(blended[0]).toBeCloseTo((1 - 0.5) / Math.sqrt(0.916667 + 1e-5), 5);
  expect(blended[5]).toBeCloseTo((4 - 0.5) / Math.sqrt(1.41667 + 1e-5), 5);
});

describe("laws", () => {
  test("a positive rescaling of a layer's input does not matter", async () => {
    const model = await normOnly();
    const batch = normals(1, [6, 2]);
    const scaled = fromFloat64(
      toFloat64(batch).map((value, i) => (i % 2 === 0 ? 30 * value + 5 : 70 * value - 2)),
      [6, 2],
    );
    const [a, b] = [await logitsOf(model, batch, {}), await logitsOf(model, scaled, {})];
    // ε weighs less beside a larger variance.
    for (let i = 0; i < a.length; i++) expect(Math.abs(a[i] - b[i])).toBeLessThan(1e-4);
  });

  test("no recorded sample is the batch alone, ever more are the model as it is", async () => {
    const model = await openGraphClassifier(smallModel(3, "batch"), options);
    const batch = normals(2, [5, 4]);
    const none = await logitsOf(model, batch, { mode: "prior", priorCount: 0 });
    expect(none).toEqual(await logitsOf(model, batch, {}));
    const many = await logitsOf(model, batch, { mode: "prior", priorCount: 1e12 });
    const source = toFloat64((await model.classify(batch)).logits);
    for (let i = 0; i < many.length; i++) expect(many[i]).toBeCloseTo(source[i], 8);
  });

  test("running statistics move batch by batch; a prediction alone does not move them", async () => {
    const model = await normOnly(1, 3);
    const adapter = await adapt(bnAdapt, model, { mode: "running", momentum: 0.25 });
    await adapter.predict(x);
    expect(toFloat64(adapter.state["statistics/bn.running_mean"])).toEqual(Float64Array.of(1, 1));
    await adapter.step(x);
    // 0.75 · 1 + 0.25 · 2, and 0.75 · 3 + 0.25 · the unbiased variances 1 and 4
    expect([...toFloat64(adapter.state["statistics/bn.running_mean"])]).toEqual([1.25, 1.25]);
    expect([...toFloat64(adapter.state["statistics/bn.running_var"])]).toEqual([2.5, 3.25]);
    const { logits } = await adapter.predict(x);
    expect(toFloat64(logits as Tensor)[5]).toBeCloseTo((4 - 1.25) / Math.sqrt(3.25 + 1e-5), 10);
  });
});

test("models without batch normalization and batches of one are refused by name", async () => {
  const layers = await openGraphClassifier(smallModel(1, "layer"), options);
  await expect(adapt(bnAdapt, layers)).rejects.toMatchObject({ code: "MISSING_NORMALIZATION" });
  const adapter = await adapt(bnAdapt, await normOnly());
  await expect(adapter.step(tensor([[1, 2]], undefined, "float64"))).rejects.toMatchObject({ code: "INVALID_BATCH" });
  await expect(adapter.step(tensor([[1], [2]]))).rejects.toMatchObject({ code: "DTYPE_MISMATCH" });
  await expect(adapter.step(tensor([1, 2], undefined, "float64"))).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
  // What went wrong with one batch does not stop the next.
  expect((await adapter.step(x)).probabilities.shape).toEqual([3, 2]);
});
