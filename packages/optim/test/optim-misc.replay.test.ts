import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import {
  add,
  type GraphValue,
  gradient,
  input,
  matMul,
  mul,
  reduceMean,
  reduceSum,
  sub,
  tanh,
  transpose,
  type Value,
} from "@loomweight/graph";
import { cast, expectClose, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  clipByGlobalNorm,
  clipByValue,
  ema,
  type GradientTransform,
  gradientNorm,
  type ParameterTransform,
  sam,
  swa,
} from "../src/index.ts";
import { compileStep } from "./compiled.ts";
import { optimizerOf, type RecordedOptions } from "./recorded.ts";
import { scalarTensors, stepOnTensors, type Tensors } from "./run.ts";

interface Entry {
  readonly name: string;
  readonly kind: "norm" | "value" | "ema" | "swa" | "sam" | "asam";
  readonly options?: RecordedOptions;
  readonly totalNorm?: number;
  readonly decay?: number;
  readonly useBuffers?: boolean;
  readonly updates?: number;
  readonly rho?: number;
  readonly base?: { readonly class: string; readonly options: RecordedOptions };
  readonly steps?: number;
  readonly float32VersusFloat64?: number;
}

const folder = fixtureArea("optim");
const file =
  folder === undefined ? undefined : readFixtureJson<{ file: string; entries: Entry[] }>(join(folder, "misc.json"));
const tensors = folder && file ? readFixtureTensors(join(folder, file.file)) : new Map<string, Tensor>();
const entries = file?.entries ?? [];
const ofKind = (...kinds: Entry["kind"][]) => entries.filter(({ kind }) => kinds.includes(kind));

/** The tensors of an entry under a prefix, by what follows it. */
function under(prefix: string): Tensors {
  const found = [...tensors].filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(found.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
}

const nothingElsewhere = () => {
  throw new Error("clipping does not look at gradients elsewhere");
};

function skipWhereAbsent(): void {
  if (entries.length === 0) test("recorded cases", (context) => context.skip("fixtures/optim is absent"));
}

describe("clipping", () => {
  skipWhereAbsent();
  test.each(ofKind("norm", "value"))("$name", ({ name, kind, options = {}, totalNorm }) => {
    const gradients = under(`${name}/in`);
    const norm = ({ "1": "l1", inf: "max" } as const)[String(options.norm_type)] ?? "l2";
    const transform: GradientTransform =
      kind === "value" ? clipByValue(options.clip_value) : clipByGlobalNorm(options.max_norm, { norm });
    const call = { gradients, parameters: gradients, state: {}, scalars: {}, gradientsAt: nothingElsewhere };
    const clipped = transform.transform(call).gradients as Tensors;
    for (const [key, expected] of Object.entries(under(`${name}/out`))) expectClose(clipped[key], expected, 2e-7);
    if (totalNorm === undefined) return;
    expect(toFloat64(gradientNorm(gradients, norm) as Tensor)[0]).toBeCloseTo(totalNorm, 5);
  });
});

describe("averages of a model", () => {
  skipWhereAbsent();
  test.each(ofKind("ema", "swa"))("$name", ({ name, kind, decay, useBuffers, updates = 0 }) => {
    const average: ParameterTransform = kind === "ema" ? ema({ decay: decay ?? 0, from: "first-step" }) : swa();
    // Recorded as float32; the counter is a whole number in the model.
    const model = (prefix: string) =>
      Object.fromEntries(
        Object.entries(under(`${name}/${prefix}/`)).map(([key, tensor]) => [
          key,
          key.endsWith("num_batches_tracked") ? cast(tensor, "int64") : tensor,
        ]),
      );
    const isBuffer = (key: string) => /running|num_batches/.test(key);
    const averaged = (all: Tensors) =>
      Object.fromEntries(Object.entries(all).filter(([key]) => useBuffers || !isBuffer(key)));
    const initial = averaged(model("initial"));
    let state = average.init?.(initial) as Tensors;
    for (let t = 1; t <= updates; t++) {
      const parameters = averaged(model(`model${t}`));
      const scalars = Object.fromEntries(
        Object.entries(scalarTensors({ scalars: average.scalars } as never, t, 0, "float32")),
      );
      state = average.after({ parameters, before: parameters, state, scalars }).state as Tensors;
      const found = { ...model(`model${t}`), ...average.averaged?.({ parameters, state }) } as Tensors;
      for (const [key, expected] of Object.entries(model(`average${t}`))) expectClose(found[key], expected, 3e-7);
    }
  });
});

/** Gradients of mean((tanh(X W + b) − Y)²) by hand, on tensors. */
function handGradients(X: Tensor, Y: Tensor) {
  return ({ W, b }: Readonly<Record<string, Value>>): Record<string, Value> => {
    const h = tanh(add(matMul(X, W), b));
    const slope = mul(mul(sub(h, Y), 2 / (Y.shape[0] * Y.shape[1])), sub(1, mul(h, h)));
    return { W: matMul(transpose(X, [1, 0]), slope), b: reduceSum(slope, [0], false) };
  };
}

/** The same by differentiation of the graph. */
function tracedGradients(X: GraphValue, Y: GraphValue) {
  return (at: Readonly<Record<string, Value>>): Record<string, Value> => {
    const error = sub(tanh(add(matMul(X, at.W), at.b)), Y);
    return gradient(reduceMean(mul(error, error), undefined, false), { W: at.W, b: at.b });
  };
}

describe("sharpness-aware minimization", () => {
  skipWhereAbsent();
  const cases = ofKind("sam", "asam");
  const made = ({ kind, rho, base }: Entry) => {
    const known = base && optimizerOf(`torch.${base.class}`, base.options);
    if (known === undefined) throw new Error(`no optimizer for ${base?.class}`);
    return { optimizer: sam(known.optimizer, { rho, adaptive: kind === "asam" }), learningRate: known.learningRate };
  };
  const recordedAt = (name: string, step: number): Tensors => under(`${name}/${step}/`);
  const tolerance = ({ float32VersusFloat64 = 0 }: Entry) => Math.max(1e-6, 4 * float32VersusFloat64);

  test.each(cases)("$name, on tensors in float64", (entry) => {
    const { optimizer, learningRate } = made(entry);
    const [X, Y, W, b] = ["X", "Y", "W", "b"].map((key) =>
      cast(tensors.get(`${entry.name}/${key}`) as Tensor, "float64"),
    );
    const gradientsAt = handGradients(X, Y);
    let at: { parameters: Tensors; state: Tensors } = { parameters: { W, b }, state: optimizer.init({ W, b }) };
    for (let step = 1; step <= (entry.steps ?? 0); step++) {
      const gradients = gradientsAt(at.parameters) as Tensors;
      at = stepOnTensors(optimizer, at, gradients, { step, learningRate }, gradientsAt);
      for (const [key, expected] of Object.entries(recordedAt(entry.name, step))) {
        expectClose(at.parameters[key], expected, tolerance(entry));
      }
    }
  });

  test.each(cases)("$name, as one float32 graph with both gradients inside", async (entry) => {
    const { optimizer, learningRate } = made(entry);
    const [X, Y, W, b] = ["X", "Y", "W", "b"].map((key) => tensors.get(`${entry.name}/${key}`) as Tensor);
    const data = { X: input("X", "float32", X.shape), Y: input("Y", "float32", Y.shape) };
    const compiled = await compileStep(optimizer, { W, b }, { data, gradientsAt: tracedGradients(data.X, data.Y) });
    let at: { parameters: Tensors; state: Tensors } = { parameters: { W, b }, state: optimizer.init({ W, b }) };
    for (let step = 1; step <= (entry.steps ?? 0); step++) {
      at = await compiled.step(at, { X, Y }, { step, learningRate });
      for (const [key, expected] of Object.entries(recordedAt(entry.name, step))) {
        expectClose(at.parameters[key], expected, tolerance(entry));
      }
    }
    await compiled.close();
  });
});
