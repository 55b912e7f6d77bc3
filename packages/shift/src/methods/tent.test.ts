import { adam, sgd } from "@loomweight/optim";
import { full, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { batchNormed, classifierModel, normals, smallModel } from "../../test/networks.ts";
import { plainRuntime } from "../../test/plain-runtime.ts";
import { adapt, bnAdapt, openGraphClassifier, tent } from "../index.ts";

const options = { runtime: plainRuntime() };

test("worked example: one batch normalization, SGD at 0.1", async () => {
  const each = (value: number) => full([2], value, "float64");
  const weights = {
    "bn.weight": each(1),
    "bn.bias": each(0),
    "bn.running_mean": each(0),
    "bn.running_var": each(1),
  };
  const model = await openGraphClassifier(
    classifierModel(weights, 2, (input, weight) => batchNormed(input, "bn", weight)),
    options,
  );
  const adapter = await adapt(tent, model, { optimizer: sgd(), learningRate: 0.1 });
  const x = tensor(
    [
      [1, 2],
      [3, 0],
      [2, 4],
    ],
    undefined,
    "float64",
  );
  const { measures } = await adapter.step(x);
  expect(measures?.entropy).toBeCloseTo(0.449665, 6);
  const { state } = adapter;
  const [gamma, beta] = ["weight", "bias"].map((name) => toFloat64(state[`parameter/bn.${name}`] as Tensor));
  for (const [i, expected] of [1.01609, 1.01609].entries()) expect(gamma[i]).toBeCloseTo(expected, 5);
  for (const [i, expected] of [-0.00835822, 0.00835822].entries()) expect(beta[i]).toBeCloseTo(expected, 8);
  expect((await adapter.step(x)).measures?.entropy).toBeCloseTo(0.443071, 6);
});

describe("laws", () => {
  const batch = normals(4, [8, 4]);

  test("only scales and shifts of the normalizations are trained", async () => {
    for (const norm of ["batch", "layer"] as const) {
      const model = await openGraphClassifier(smallModel(2, norm), options);
      const { state } = await adapt(tent, model, { optimizer: sgd() });
      expect(Object.keys(state).sort()).toEqual(["parameter/norm.bias", "parameter/norm.weight", "updates"]);
    }
  });

  test("a small step lowers the entropy of the same batch", async () => {
    for (const seed of [1, 2, 3]) {
      const model = await openGraphClassifier(smallModel(seed, "batch"), options);
      const adapter = await adapt(tent, model, { optimizer: sgd(), learningRate: 1e-3 });
      const before = (await adapter.step(batch)).measures?.entropy as number;
      const after = (await adapter.step(batch)).measures?.entropy as number;
      expect(after).toBeLessThan(before);
    }
  });

  test("certain predictions move nothing", async () => {
    const base = smallModel(1, "batch");
    const model = await openGraphClassifier(base, options);
    const adapter = await adapt(tent, model, { optimizer: sgd(), learningRate: 1 });
    const certain = await openGraphClassifier(
      classifierModel(
        {
          "bn.weight": full([2], 1e4, "float64"),
          "bn.bias": full([2], 0, "float64"),
          "bn.running_mean": full([2], 0, "float64"),
          "bn.running_var": full([2], 1, "float64"),
        },
        2,
        (input, weight) => batchNormed(input, "bn", weight),
      ),
      options,
    );
    const still = await adapt(tent, certain, { optimizer: sgd(), learningRate: 1 });
    const before = still.state;
    await still.step(normals(9, [6, 2]));
    expect(still.state["parameter/bn.weight"]).toEqual(before["parameter/bn.weight"]);
    // While uncertain ones do.
    const started = adapter.state;
    await adapter.step(batch);
    expect(adapter.state["parameter/norm.weight"]).not.toEqual(started["parameter/norm.weight"]);
  });

  test("a rate of 0 is BN-adapt", async () => {
    const model = await openGraphClassifier(smallModel(5, "batch"), options);
    const [adapter, plain] = [await adapt(tent, model, { learningRate: 0 }), await adapt(bnAdapt, model)];
    for (const seed of [1, 2, 3]) {
      const x = normals(seed, [6, 4]);
      expect((await adapter.step(x)).logits).toEqual((await plain.step(x)).logits);
    }
  });

  test("after: predicted again by what was learnt; several updates; every batch from the start", async () => {
    const model = await openGraphClassifier(smallModel(6, "batch"), options);
    const common = { optimizer: sgd(), learningRate: 0.1 };
    const [before, after] = [
      await adapt(tent, model, common),
      await adapt(tent, model, { ...common, predict: "after" }),
    ];
    await before.step(batch);
    expect((await after.step(batch)).logits).toEqual((await before.predict(batch)).logits);
    await before.step(batch);
    const twice = await adapt(tent, model, { ...common, steps: 2 });
    await twice.step(batch);
    expect(twice.state).toEqual(before.state);
    const episodic = await adapt(tent, model, { ...common, episodic: true });
    await episodic.step(batch);
    const other = normals(12, [8, 4]);
    const fresh = await adapt(tent, model, common);
    expect((await episodic.step(other)).logits).toEqual((await fresh.step(other)).logits);
  });
});

test("a state taken up again goes on as if it had not stopped", async () => {
  const common = { optimizer: adam(), learningRate: 1e-2 };
  const model = await openGraphClassifier(smallModel(7, "batch"), options);
  const whole = await adapt(tent, model, common);
  for (const seed of [1, 2, 3]) await whole.step(normals(seed, [6, 4]));
  const first = await adapt(tent, model, common);
  await first.step(normals(1, [6, 4]));
  const second = await adapt(tent, await openGraphClassifier(smallModel(7, "batch"), options), {
    ...common,
    state: first.state,
  });
  await second.step(normals(2, [6, 4]));
  await second.step(normals(3, [6, 4]));
  expect(second.state).toEqual(whole.state);
});

test("bad options, models without normalizations and foreign states are refused by name", async () => {
  const model = await openGraphClassifier(smallModel(8, "layer"), options);
  await expect(adapt(tent, model, { layers: "batch" })).rejects.toMatchObject({ code: "MISSING_NORMALIZATION" });
  await expect(adapt(tent, model, { steps: 0 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await expect(adapt(tent, model, { learningRate: -1 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await expect(adapt(tent, model, { learningrate: 1 } as object)).rejects.toMatchObject({ code: "UNKNOWN_OPTION" });
  const other = await adapt(tent, model, { state: { updates: 3, "parameter/other": full([2], 1) } });
  await expect(other.step(normals(1, [2, 4]))).rejects.toMatchObject({ code: "STATE_MISMATCH" });
});
