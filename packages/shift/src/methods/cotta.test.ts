import type { Runtime } from "@loomweight/graph";
import { gemm } from "@loomweight/graph";
import { sgd } from "@loomweight/optim";
import { createRandom, fromFloat64, type Random, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { afterEach, describe, expect, test, vi } from "vitest";
import { classifierModel, normals, smallModel } from "../../test/networks.ts";
import { plainRuntime } from "../../test/plain-runtime.ts";
import { adapt, bnAdapt, cotta, openGraphClassifier, trainableWeights } from "../index.ts";
import * as masks from "../restore-mask.ts";

const options = { runtime: plainRuntime() };
const noisy = (x: Tensor, random: Random) => {
  const noise = new Float64Array(toFloat64(x).length);
  random.normalsInto(noise, { deviation: 0.3 });
  return fromFloat64(
    toFloat64(x).map((value, i) => value + noise[i]),
    x.shape,
  );
};
const same = (x: Tensor) => x;
const common = { augment: noisy, augmentations: 3, optimizer: sgd(), learningRate: 0.1, confidenceThreshold: 1 };
const small = (seed = 1) => openGraphClassifier(smallModel(seed, "batch"), options);
const batch = normals(4, [8, 4]);

afterEach(() => {
  vi.restoreAllMocks();
});

function near(found: Tensor, expected: readonly number[], digits = 6): void {
  const values = toFloat64(found);
  for (const [i, each] of expected.entries()) expect(values[i]).toBeCloseTo(each, digits);
}

describe("worked example: one linear layer", () => {
  const identity = tensor(
    [
      [1, 0],
      [0, 1],
    ],
    undefined,
    "float64",
  );
  const model = () =>
    openGraphClassifier(
      classifierModel({ weight: identity }, 2, (x, weight) => gemm(x, weight("weight"), undefined, { transB: true })),
      options,
    );
  const x = tensor(
    [
      [1, 0.2],
      [0.3, 0.5],
    ],
    undefined,
    "float64",
  );
  const changes = [
    (v: number, column: number) => v + (column === 0 ? -0.4 : 0.1),
    (v: number, column: number) => v * (column === 0 ? 0.5 : 0.8),
  ];
  const given = () => {
    let copy = 0;
    return {
      optimizer: sgd(),
      learningRate: 0.5,
      teacherDecay: 0.9,
      confidenceThreshold: 0.92,
      augmentations: 2,
      augment(each: Tensor) {
        const change = changes[copy++ % 2];
        return fromFloat64(
          toFloat64(each).map((v, i) => change(v, i % 2)),
          each.shape,
        );
      },
    };
  };

  test("cross entropy", async () => {
    vi.spyOn(masks, "restoreMask").mockImplementation(() =>
      tensor([
        [0, 1],
        [0, 0],
      ]),
    );
    const adapter = await adapt(cotta, await model(), given());
    const { logits, measures } = await adapter.step(x);
    near(logits as Tensor, [0.55, 0.23, 0.025, 0.5]);
    expect(measures?.confidence).toBeCloseTo(0.619904, 6);
    expect(measures?.loss).toBeCloseTo(0.691233, 6);
    near(adapter.state["teacher/weight"] as Tensor, [0.996733, -0.00138741, 0.00326675, 1.00139], 5);
    near(adapter.state["student/weight"] as Tensor, [0.967333, 0, 0.0326675, 1.01387], 5);
  });

  test("the symmetric loss", async () => {
    const adapter = await adapt(cotta, await model(), { ...given(), loss: "symmetric" });
    expect((await adapter.step(x)).measures?.loss).toBeCloseTo(0.681246, 6);
  });
});

describe("laws", () => {
  test("never averaging, the first batch teaches nothing and is BN-adapt's", async () => {
    const model = await small();
    const adapter = await adapt(cotta, model, { ...common, confidenceThreshold: 0, restoreProbability: 0 });
    const before = adapter.state;
    const { logits } = await adapter.step(batch);
    expect(logits).toEqual((await (await adapt(bnAdapt, model)).step(batch)).logits);
    const [was, is] = [before, adapter.state].map((each) => toFloat64(each["student/fc1.weight"] as Tensor));
    for (let i = 0; i < is.length; i++) expect(Math.abs(is[i] - was[i])).toBeLessThan(1e-15);
  });

  test("restored whole, the student is the source bit for bit; not at all, it is not", async () => {
    const model = await small(2);
    const source = (await model.read(["fc1.weight"]))["fc1.weight"];
    for (const restoreProbability of [1, 0]) {
      const adapter = await adapt(cotta, model, { ...common, restoreProbability });
      await adapter.step(batch);
      const student = toFloat64(adapter.state["student/fc1.weight"] as Tensor);
      const kept = student.filter((value, i) => Object.is(value, toFloat64(source)[i])).length;
      expect(kept).toBe(restoreProbability === 1 ? student.length : 0);
    }
  });

  test("a teacher that keeps all never moves; one that keeps nothing is the student before its restore", async () => {
    const model = await small(3);
    const constant = await adapt(cotta, model, { ...common, teacherDecay: 1 });
    const before = constant.state["teacher/fc1.weight"];
    await constant.step(batch);
    expect(constant.state["teacher/fc1.weight"]).toEqual(before);
    const mirror = await adapt(cotta, model, { ...common, teacherDecay: 0, restoreProbability: 1 });
    const free = await adapt(cotta, model, { ...common, teacherDecay: 0, restoreProbability: 0 });
    await mirror.step(batch);
    await free.step(batch);
    expect(mirror.state["teacher/fc1.weight"]).toEqual(free.state["student/fc1.weight"]);
  });

  test("copies that are not changed average to the plain logits", async () => {
    const adapter = await adapt(cotta, await small(4), { ...common, augment: same, augmentations: 7 });
    const plain = await adapter.predict(batch);
    near((await adapter.step(batch)).logits as Tensor, [...toFloat64(plain.logits as Tensor)], 12);
  });

  test("a rate of 0 is BN-adapt at every batch", async () => {
    const model = await small(5);
    const adapter = await adapt(cotta, model, { ...common, augment: same, augmentations: 1, learningRate: 0 });
    const plain = await adapt(bnAdapt, model);
    for (const seed of [1, 2, 3]) {
      const x = normals(seed, [6, 4]);
      near((await adapter.step(x)).logits as Tensor, [...toFloat64((await plain.step(x)).logits as Tensor)], 12);
    }
  });

  test("a reset repeats the stream bit for bit; another seed draws anew", async () => {
    const model = await small(6);
    const run = async (adapter: Awaited<ReturnType<typeof first>>) => {
      const logits = [];
      for (const seed of [1, 2]) logits.push((await adapter.step(normals(seed, [6, 4]))).logits);
      return logits;
    };
    const first = () => adapt(cotta, model, common);
    const adapter = await first();
    const once = await run(adapter);
    adapter.reset();
    expect(await run(adapter)).toEqual(once);
    expect(await run(await adapt(cotta, model, { ...common, seed: 1 }))).not.toEqual(once);
  });

  test("the restored share is the probability within three deviations", () => {
    const [count, p] = [200_000, 0.01];
    const mask = toFloat64(masks.restoreMask([count], p, createRandom(3, "mask")));
    const share = mask.reduce((sum, each) => sum + each, 0) / count;
    expect(Math.abs(share - p)).toBeLessThan(3 * Math.sqrt((p * (1 - p)) / count));
  });

  test("three sets of weights and the optimizer's state are held, whatever the number of copies", async () => {
    const held: string[][] = [];
    let compiled = 0;
    const plain = plainRuntime();
    const runtime: Runtime = {
      ...plain,
      state(tensors) {
        held.push(Object.keys(tensors));
        return plain.state(tensors);
      },
      compile(...call) {
        compiled++;
        return plain.compile(...call);
      },
    };
    for (const augmentations of [1, 9]) {
      const model = await openGraphClassifier(smallModel(1, "batch"), { runtime });
      compiled = 0;
      await (await adapt(cotta, model, { ...common, optimizer: sgd({ momentum: 0.9 }), augmentations })).step(batch);
      expect(compiled).toBe(3); // source model, teacher, student
      const names = held.pop() as string[];
      for (const set of ["source", "student", "teacher", "optimizer"]) {
        expect(names.filter((name) => name.startsWith(`${set}/`))).toHaveLength(6);
      }
      expect(names).toHaveLength(24);
    }
  });
});

test("what is trained: names ending in weight or bias, those exporters made up, never recorded statistics", async () => {
  const model = await small();
  expect(trainableWeights(model)).toEqual([
    "fc1.weight",
    "fc1.bias",
    "norm.weight",
    "norm.bias",
    "fc2.weight",
    "fc2.bias",
  ]);
  expect(trainableWeights(model, (name) => name.startsWith("fc2"))).toEqual(["fc2.weight", "fc2.bias"]);
  expect(() => trainableWeights(model, () => false)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
});

test("bad options are refused by name", async () => {
  const model = await small();
  const refused = (given: object) =>
    expect(adapt(cotta, model, given)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await refused({}); // no augmentation: nothing to learn from
  await refused({ ...common, augmentations: 0 });
  await refused({ ...common, teacherDecay: 1.1 });
  await refused({ ...common, restoreProbability: -0.1 });
  await refused({ ...common, confidenceThreshold: 2 });
  await refused({ ...common, loss: "kl" });
});
