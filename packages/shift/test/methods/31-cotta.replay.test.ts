import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { createRuntime } from "@loomweight/graph/node";
import type { Optimizer } from "@loomweight/graph/training";
import { adam, sgd } from "@loomweight/optim";
import { cast, fromFloat64, type OptionValues, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test, vi } from "vitest";
import { bnAdapt, type CottaState, cotta, openGraphClassifier, type ShiftState, tent } from "../../src/index.ts";
import * as masks from "../../src/restore-mask.ts";
import { plainRuntime } from "../plain-runtime.ts";
import { recordedNetwork } from "../recorded-network.ts";

interface Recorded {
  readonly method?: "tent" | "bn-adapt";
  readonly loss: "cross-entropy" | "symmetric";
  readonly augmentations: number;
  readonly confidenceThreshold: number;
  readonly teacherDecay: number;
  readonly restoreProbability: number;
  readonly optimizer: { kind: "adam" | "sgd"; lr: number; momentum?: number; nesterov?: boolean };
  readonly batches: number;
  readonly trainable: readonly string[];
  readonly augmented: readonly boolean[];
  readonly priorCount: number;
  readonly momentum: number;
}
type Case = MethodCase<Recorded>;

/** How far from the record: of logits and losses, and of parameters. */
interface Tolerance {
  readonly values: number;
  readonly parameters: number;
}
// In float32 Adam divides gradients near 0 by their own size: a weight may be a whole step off, two at worst.
const tolerance = (wide: boolean, { kind, lr = 0 }: Partial<Recorded["optimizer"]>): Tolerance =>
  wide
    ? { values: 1e-10, parameters: kind === "adam" ? 1e-8 : 1e-10 }
    : { values: 2e-4, parameters: kind === "adam" ? 2 * lr : 1e-5 };

function near(
  found: Tensor | ArrayLike<number>,
  expected: Tensor | ArrayLike<number>,
  most: number,
  what: string,
): void {
  const values = (of: Tensor | ArrayLike<number>) => ("dtype" in of ? toFloat64(of) : of);
  const [a, b] = [values(found), values(expected)];
  expect(a.length, what).toBe(b.length);
  let worst = 0;
  for (let i = 0; i < b.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  expect(worst, what).toBeLessThanOrEqual(most);
}

/** The t-th of tensors stacked along their first axis. */
function slice(stacked: Tensor, t: number, wide = true): Tensor {
  const shape = stacked.shape.slice(1);
  const size = shape.reduce((product, each) => product * each, 1);
  return fromFloat64(toFloat64(stacked).slice(t * size, (t + 1) * size), shape, wide ? "float64" : "float32");
}

function optimizerOf({ kind, momentum = 0, nesterov = false }: Recorded["optimizer"]): Optimizer {
  return kind === "adam" ? adam() : sgd({ momentum, nesterov });
}

function expectParameters(each: Case, state: ShiftState, batch: number, within: Tolerance): void {
  for (const name of each.options.trainable) {
    const sets = each.options.method === "tent" ? { student: "parameter" } : { student: "student", teacher: "teacher" };
    for (const [recorded, own] of Object.entries(sets)) {
      const found = state[`${own}/${name}`] as Tensor;
      near(found, each.tensor(`batch${batch}/${recorded}/${name}`), within.parameters, `batch ${batch} ${own}/${name}`);
    }
  }
}

/** The optimizer's state after the last batch: sums of all gradients before it. */
function expectMoments(each: Case, state: ShiftState): void {
  const prefix = `optimizer_after${each.options.batches}/`;
  const recorded = [...each.tensors].filter(([key]) => key.startsWith(prefix));
  expect(recorded.length).toBeGreaterThan(0);
  for (const [key, tensor] of recorded) {
    const slash = key.lastIndexOf("/");
    const found = state[`optimizer/${key.slice(slash + 1)}/${key.slice(prefix.length, slash)}`] as Tensor;
    near(found, tensor, 1e-10, key);
  }
}

async function classifierOf(each: Case, wide: boolean) {
  const model = recordedNetwork((name) => {
    const tensor = each.tensor(`source/${name}`);
    return wide ? tensor : cast(tensor, "float32");
  });
  return openGraphClassifier(model, { runtime: wide ? plainRuntime() : await createRuntime({ threads: 1 }) });
}

async function replayCotta(each: Case, wide: boolean): Promise<void> {
  const { options } = each;
  const within = tolerance(wide, options.optimizer);
  const [gain, offset] = [toFloat64(each.tensor("augment/gain")), toFloat64(each.tensor("augment/offset"))];
  let batch = 0;
  let copy = 0;
  let drawn = 0;
  vi.spyOn(masks, "restoreMask").mockImplementation(() =>
    cast(each.tensor(`batch${batch}/mask/${options.trainable[drawn++ % options.trainable.length]}`), "float32"),
  );
  const given = {
    ...options,
    learningRate: options.optimizer.lr,
    optimizer: optimizerOf(options.optimizer),
    steps: 1,
    episodic: false,
    seed: 0,
    statistics: "batch" as const,
    priorCount: 0,
    trainable: (name: string) => options.trainable.includes(name),
    augment(x: Tensor) {
      const channels = x.shape[1];
      const plane = x.shape[2] * x.shape[3];
      const start = (batch * options.augmentations + copy++) * channels;
      const data = toFloat64(x).map((value, i) => {
        const channel = start + (Math.floor(i / plane) % channels);
        return gain[channel] * value + offset[channel];
      });
      return fromFloat64(data, x.shape, x.dtype as "float64");
    },
  };
  const model = await classifierOf(each, wide);
  let state: CottaState = await cotta.init(model, given);
  for (; batch < options.batches; batch++) {
    copy = 0;
    drawn = 0;
    const x = slice(each.tensor("x"), batch, wide);
    const plain = await cotta.predict(model, state, x, given);
    near(plain.logits as Tensor, each.tensor(`batch${batch}/teacher_standard`), within.values, "teacher_standard");
    const learnt = await cotta.update?.(model, state, x, given);
    if (learnt === undefined) throw new Error("cotta has no update");
    const { state: next, prediction } = learnt;
    const measures = prediction.measures as Record<string, number>;
    near(prediction.logits as Tensor, each.tensor(`batch${batch}/output`), within.values, "output");
    near([measures.confidence], [toFloat64(each.tensor("confidence"))[batch]], within.values, "confidence");
    near([measures.loss], [toFloat64(each.tensor("loss"))[batch]], within.values, "loss");
    expect(measures.averaged).toBe(Number(options.augmented[batch]));
    state = next;
    expectParameters(each, state, batch, within);
  }
  if (wide) expectMoments(each, state);
  await model.close();
  await model.runtime.close();
}

async function replayTent(each: Case, wide: boolean): Promise<void> {
  const { options } = each;
  const within = tolerance(wide, options.optimizer);
  const given = {
    learningRate: options.optimizer.lr,
    optimizer: optimizerOf(options.optimizer),
    steps: 1,
    layers: "auto",
    predict: "before",
    episodic: false,
    statistics: "batch",
    priorCount: 0,
  } as OptionValues<typeof tent.options> & { optimizer: Optimizer };
  const model = await classifierOf(each, wide);
  let state = await tent.init(model, given);
  expect(Object.keys(state).filter((name) => name.startsWith("parameter/"))).toEqual(
    options.trainable.map((name) => `parameter/${name}`),
  );
  for (let batch = 0; batch < options.batches; batch++) {
    const found = await tent.update?.(model, state, slice(each.tensor("x"), batch, wide), given);
    if (found === undefined) throw new Error("tent has no update");
    near(found.prediction.logits as Tensor, each.tensor(`batch${batch}/output`), within.values, `batch ${batch}`);
    state = found.state;
    expectParameters(each, state, batch, within);
  }
  if (wide) expectMoments(each, state);
  await model.close();
  await model.runtime.close();
}

async function replayBnAdapt(each: Case, wide: boolean): Promise<void> {
  const { options } = each;
  const { values } = tolerance(wide, {});
  const model = await classifierOf(each, wide);
  const count = each.tensor("x").shape[0];
  for (const mode of ["batch", "running", "prior"] as const) {
    const given = { mode, priorCount: options.priorCount, momentum: options.momentum };
    let state = await bnAdapt.init(model, given);
    for (let batch = 0; batch < count; batch++) {
      const x = slice(each.tensor("x"), batch, wide);
      if (mode === "batch") {
        near((await model.classify(x)).logits, slice(each.tensor("source_output"), batch), values, "source");
      }
      const found = await bnAdapt.update?.(model, state, x, given);
      if (found === undefined) throw new Error("bn-adapt has no update");
      near(found.prediction.logits as Tensor, slice(each.tensor(`${mode}_mode/output`), batch), values, mode);
      state = found.state;
      for (const [key, tensor] of each.tensors) {
        const prefix = `${mode}_mode/batch${batch}/`;
        if (!key.startsWith(prefix)) continue;
        const name = key.slice(prefix.length);
        if (name in state) near(state[name] as Tensor, tensor, values, key);
      }
    }
  }
  await model.close();
  await model.runtime.close();
}

describe("CoTTA, TENT and BN-adapt, recorded", () => {
  const cases = methodCases<Recorded>("31-cotta");
  if (cases.length === 0) test("recorded cases", (context) => context.skip("the fixtures do not hold this method"));
  for (const each of cases) {
    const replay = { tent: replayTent, "bn-adapt": replayBnAdapt }[each.options.method as "tent"] ?? replayCotta;
    test(`${each.name}, in float64`, () => replay(each, true), 60_000);
    test(`${each.name}, by onnxruntime`, () => replay(each, false), 60_000);
  }
});
