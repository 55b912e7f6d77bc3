import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, readFixtureTensors } from "@loomweight/fixtures";
import { encodeOnnx, importOnnx, input, instantiate, type OnnxModel, type Runtime } from "@loomweight/graph";
import { createRuntime, openSession } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { fromData, fromFloat64, type Tensor, toFloat32, toFloat64, zeros } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type AwqQuantized,
  collectHessians,
  createHessianSum,
  dequantizeBlocks,
  quantizeAwq,
  quantizeWeightOnly,
  weightAlgorithms,
} from "../src/index.ts";
import { oneOpModel } from "./recorded.ts";

const scribe = join(fixtureArea("models") ?? "", "scribe");

/** Rows [from, to) of a text's tokens, with an empty cache. */
function feedsOf(model: OnnxModel, tokens: Tensor, from: number, to: number): Record<string, Tensor> {
  const [count, length] = [to - from, tokens.shape[1]];
  const ids = BigInt64Array.from(toFloat64(tokens).subarray(from * length, to * length), (id) => BigInt(id));
  const feeds: Record<string, Tensor> = { input_ids: fromData("int64", ids, [count, length]) };
  for (const { name, shape } of model.graph.inputs) {
    if (name === "attention_mask")
      feeds[name] = fromData(
        "int64",
        ids.map(() => 1n),
        [count, length],
      );
    if (name === "position_ids") {
      feeds[name] = fromData(
        "int64",
        ids.map((_, i) => BigInt(i % length)),
        [count, length],
      );
    }
    if (name.startsWith("past_key_values.")) feeds[name] = zeros([count, Number(shape?.[1]), 0, Number(shape?.[3])]);
  }
  return feeds;
}

/** Mean −log p of each next token. */
async function lossOf(model: OnnxModel, tokens: Tensor, from: number, to: number): Promise<number> {
  const session = await openSession(await encodeOnnx(model));
  const { logits } = await session.run(feedsOf(model, tokens, from, to), { outputs: ["logits"] });
  await session.close();
  const [count, length, vocabulary] = logits.shape;
  const [values, ids] = [toFloat32(logits), toFloat64(tokens)];
  let sum = 0;
  for (let row = 0; row < count; row++) {
    for (let at = 0; at + 1 < length; at++) {
      const place = (row * length + at) * vocabulary;
      const own = values.subarray(place, place + vocabulary);
      const largest = own.reduce((most, each) => Math.max(most, each));
      const total = own.reduce((all, each) => all + Math.exp(each - largest), 0);
      sum += Math.log(total) + largest - own[ids[(from + row) * length + at + 1]];
    }
  }
  return sum / (count * (length - 1));
}

describe("on the scribe", () => {
  let runtime: Runtime;
  let model: OnnxModel;
  let tokens: Tensor;
  let close: () => Promise<void>;
  beforeAll(async () => {
    runtime = await createRuntime({ threads: 1 });
    const folder = await openModel(join(scribe, "scribe-base"));
    close = () => folder.close();
    model = (await buildModel(folder, "text-generation", { fuse: "none" })).model;
    tokens = readFixtureTensors(join(scribe, "eval.safetensors")).get("plays") as Tensor;
  });
  afterAll(async () => {
    await close();
    await runtime.close();
  });

  test("in 2 bits the loss grows least by gptq, then awq, then hqq and k-quant, then the default", async () => {
    const calibration = [feedsOf(model, tokens, 0, 12), feedsOf(model, tokens, 12, 24)];
    const hessians = await collectHessians(model, { runtime, batches: () => calibration, exclude: ["lm_head*"] });
    // Four layers of seven products, q, k, v and gate, up sharing their inputs' moments.
    expect(hessians.size).toBe(28);
    expect(new Set(hessians.values()).size).toBe(16);
    const grown = new Map<string, number>();
    const float = await lossOf(model, tokens, 32, 38);
    for (const algorithm of ["default", "hqq", "k-quant", "awq", "gptq"] as const) {
      const options = { bits: 2, blockSize: 32, symmetric: false, exclude: ["lm_head*"], algorithm, hessians } as const;
      grown.set(algorithm, (await lossOf(quantizeWeightOnly(model, options), tokens, 32, 38)) - float);
    }
    const of = (name: string) => grown.get(name) as number;
    expect(of("default")).toBeLessThan(0.2);
    expect(Math.max(of("hqq"), of("k-quant"))).toBeLessThan(of("default"));
    expect(of("awq")).toBeLessThan(Math.min(of("hqq"), of("k-quant")));
    expect(of("gptq")).toBeLessThan(of("awq"));
  }, 120_000);

  test("moments of a graph are those of its inputs, in one pass or in several", async () => {
    const batches = () => [feedsOf(model, tokens, 0, 2), feedsOf(model, tokens, 2, 3)];
    const include = ["*layers.0*"];
    const once = await collectHessians(model, { runtime, batches, include });
    const several = await collectHessians(model, { runtime, batches, include, memory: 1 });
    expect([...several.keys()]).toEqual([...once.keys()]);
    for (const [name, hessian] of once) expect(toFloat64(several.get(name) as Tensor)).toEqual(toFloat64(hessian));
    // By hand: what the first norm gives, for every row of both batches.
    const q = model.graph.nodes.find(({ inputs }) => inputs.some((each) => each.includes("layers.0.self_attn.q_proj")));
    const value = q?.inputs[0] as string;
    const imported = await importOnnx(model);
    const sum = createHessianSum(128);
    for (const { input_ids: ids } of batches()) {
      const inputs = { input_ids: input("input_ids", ids.dtype, ids.shape) };
      const x = instantiate(imported, { inputs }).value(value);
      sum.add((await runtime.evaluate({ x }, { input_ids: ids })).x);
    }
    const [found, wanted] = [once.get(q?.inputs[1] as string) as Tensor, sum.finish()].map(toFloat64);
    const largest = wanted.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
    // Sums over a batch are float32 in the graph.
    for (const [i, each] of wanted.entries()) expect(Math.abs(found[i] - each)).toBeLessThan(1e-5 * largest);
  }, 60_000);
});

describe("options", () => {
  const weight = fromData(
    "float32",
    Float32Array.from({ length: 64 * 8 }, (_, i) => Math.sin(i * i)),
    [64, 8],
  );
  const model = oneOpModel(
    { op: "MatMul", domain: "", name: "mm", inputs: ["A", "W"], outputs: ["Y"], attributes: {} },
    weight,
    "float32",
    [2, 64],
  );

  test("what does not fit is refused by name", () => {
    const refused = (options: Record<string, unknown>) => () => quantizeWeightOnly(model, options);
    expect(refused({ algorithm: "gptk" })).toThrow(/unknown algorithm "gptk".*gptq/s);
    expect(refused({ algorithm: "hqq", bits: 8 })).toThrow(/2 and 4 bits only/);
    expect(refused({ algorithm: "rtn", format: "qdq" })).toThrow(/algorithm/);
  });

  test("gptq and awq without their data say which product lacks them", async () => {
    for (const algorithm of ["gptq", "awq"] as const) {
      await expect(encodeOnnx(quantizeWeightOnly(model, { algorithm }))).rejects.toThrow(/"W".*second moments/s);
      const hessians = new Map([["W", fromFloat64(new Float64Array(9), [3, 3])]]);
      await expect(encodeOnnx(quantizeWeightOnly(model, { algorithm, hessians }))).rejects.toThrow(/\[64,64\]/);
    }
    await expect(collectHessians(model, { runtime: {} as Runtime, batches: () => [], exclude: ["W"] })).rejects.toThrow(
      /no MatMul/,
    );
    expect(() => createHessianSum(3).finish()).toThrow(/no inputs were seen/);
    expect(() => createHessianSum(3).add(zeros([2, 4]))).toThrow(/\[\.\., 3\]/);
  });

  test("awq scales the rows of large inputs, and none where all are alike", () => {
    const diagonal = (of: (k: number) => number) =>
      fromFloat64(
        Float64Array.from({ length: 64 * 64 }, (_, i) => (i % 65 === 0 ? of(i / 65) : 0)),
        [64, 64],
      );
    const even = quantizeAwq(
      weight,
      diagonal(() => 2),
    );
    expect(even.exponent).toBe(0);
    expect([...even.inputScales.data]).toEqual(Array.from({ length: 64 }, () => 1));
    const moments = diagonal((k) => (k % 16 === 3 ? 2000 : 2));
    const uneven = quantizeAwq(weight, moments);
    expect(uneven.exponent).toBeGreaterThan(0);
    expect(uneven.inputScales.data[3]).toBeLessThan(uneven.inputScales.data[4]);
    const lost = ({ quantized, inputScales }: AwqQuantized) => {
      const decoded = toFloat64(dequantizeBlocks(quantized));
      return toFloat64(weight).reduce((sum, value, i) => {
        const k = Math.floor(i / 8);
        return sum + toFloat64(moments)[65 * k] * (decoded[i] * inputScales.data[k] - value) ** 2;
      }, 0);
    };
    expect(lost(uneven)).toBeLessThan(lost(even) / 2);
  });

  test("every algorithm's file runs, and gives what its weight gives", async () => {
    const sum = createHessianSum(64);
    const rows = fromData(
      "float32",
      Float32Array.from({ length: 200 * 64 }, (_, i) => Math.cos(i * 1.7)),
      [200, 64],
    );
    sum.add(rows);
    const hessians = new Map([["W", sum.finish()]]);
    const A = fromData(
      "float32",
      Float32Array.from({ length: 128 }, (_, i) => Math.cos(3 * i)),
      [2, 64],
    );
    const exact = Array.from({ length: 16 }, (_, i) =>
      Array.from({ length: 64 }).reduce<number>(
        (all, _, k) => all + A.data[Math.floor(i / 8) * 64 + k] * weight.data[k * 8 + (i % 8)],
        0,
      ),
    );
    for (const algorithm of weightAlgorithms) {
      for (const symmetric of [true, false]) {
        const session = await openSession(
          await encodeOnnx(quantizeWeightOnly(model, { algorithm, symmetric, hessians })),
        );
        const { Y } = await session.run({ A });
        await session.close();
        // Four bits: a step of 1/7 of the largest weight, 64 of them with random signs.
        exact.forEach((value, i) => {
          expect(Math.abs((Y.data[i] as number) - value), `${algorithm} ${symmetric}`).toBeLessThan(1);
        });
      }
    }
  });
});
