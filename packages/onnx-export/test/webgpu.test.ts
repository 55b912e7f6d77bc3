import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import { openSession, type SessionOptions } from "@loomweight/graph/node";
import type { Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { webgpuEnvironment } from "../../graph/test/runtime/webgpu-driver.ts";
import type { ExportDType } from "../src/index.ts";
import { exportFolder } from "../src/node/index.ts";
import { nextInputs, sampleInputs, sampleTokens } from "../src/sample-inputs.ts";
import { outputDifferences } from "../src/verify/output-difference.ts";

const driver = webgpuEnvironment();
/**
 * What the default export leaves to the CPU: positions and the total length come from int64 inputs, in which its WebGPU
 * provider does not compute. They cost nothing there; exported for WebGPU alone, nothing is left.
 */
const indexArithmetic = ["Cast", "Concat", "Range", "Reshape", "Shape", "Size", "Squeeze"];
const kinds: readonly (readonly [
  kind: string,
  folder: string,
  dtype: ExportDType,
  file: string,
  needed: readonly string[],
])[] = [
  [
    "a decoder with its cache",
    "models/scribe/scribe-base",
    "fp32",
    "model.onnx",
    ["MatMul", "GroupQueryAttention", "RotaryEmbedding", "SkipSimplifiedLayerNormalization"],
  ],
  [
    "a decoder with its cache in 4 bits",
    "models/scribe/scribe-base",
    "q4",
    "model_q4.onnx",
    ["MatMulNBits", "GroupQueryAttention"],
  ],
  [
    "a decoder in 4 bits whose embedding and head share a table",
    "models/scribe/scribe-base",
    "q4",
    "model_q4.onnx",
    ["MatMulNBits", "GatherBlockQuantized", "Split", "GroupQueryAttention"],
  ],
  ["an encoder", "architectures/bert", "fp32", "model.onnx", ["MatMul", "MultiHeadAttention", "LayerNormalization"]],
  ["a model of images", "models/glyph/glyph-base", "fp32", "model.onnx", ["Conv", "MatMul", "MultiHeadAttention"]],
];

describe.skipIf(driver === undefined)("exports on WebGPU (needs Chromium's software driver)", () => {
  let root = "";
  beforeAll(async () => {
    Object.assign(process.env, driver);
    root = await mkdtemp(join(tmpdir(), "loomweight-export-webgpu-"));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  test.each(kinds)(
    "%s runs there but for index arithmetic, and gives what the CPU gives",
    { timeout: 60_000 },
    async (kind, folder, dtype, file, needed) => {
      const out = join(root, kind);
      await exportFolder(join(fixturesRoot(), folder), out, {
        dtypes: [dtype],
        quantize: needed.includes("GatherBlockQuantized") ? { embeddings: "tied", blockSize: 16 } : {},
        verify: false,
      });
      const path = join(out, "onnx", file);
      const { runs: expected, real } = await answers(path, { threads: 1 });
      const prefix = join(out, "profile");
      const profiled = { enableProfiling: true, profileFilePrefix: prefix, logSeverityLevel: 3 };
      const { runs: actual } = await answers(path, { providers: ["webgpu"], sessionOptions: profiled });
      const { cpu, webgpu } = await placements(out);
      expect(indexArithmetic).toEqual(expect.arrayContaining([...cpu]));
      expect([...webgpu]).toEqual(expect.arrayContaining([...needed]));
      // 4-bit products of accuracy level 4 round activations to 8 bits on the CPU; sine and cosine of a software driver have four digits
      const tolerance = dtype === "fp32" ? 1e-3 : 2e-2;
      expect(actual).toHaveLength(expected.length);
      for (const [i, run] of actual.entries()) {
        for (const { name, relative } of outputDifferences(run, expected[i], sampleTokens, real)) {
          expect(relative, `${name}, run ${i}`).toBeLessThan(tolerance);
        }
      }
    },
  );
});

/** Outputs of a small padded input, and of a cached step after it where there is a cache. */
async function answers(path: string, options: SessionOptions) {
  const session = await openSession(path, options);
  try {
    const { feeds, real } = sampleInputs(session.inputs, { vocab_size: 100 });
    const runs: Record<string, Tensor>[] = [await session.run(feeds)];
    const cached = session.inputs.some(({ name }) => name.startsWith("past_key_values."));
    if (cached) runs.push(await session.run(nextInputs(feeds, runs[0])));
    return { runs, real };
  } finally {
    await session.close();
  }
}

/** Operators by the provider that ran them, as onnxruntime's profile in `folder` tells. */
async function placements(folder: string): Promise<{ cpu: Set<string>; webgpu: Set<string> }> {
  const name = (await readdir(folder)).find((each) => each.startsWith("profile"));
  const events = JSON.parse(await readFile(join(folder, name ?? "no profile"), "utf8")) as {
    args?: { provider?: string; op_name?: string };
  }[];
  const on = (provider: string) =>
    new Set(events.filter(({ args }) => args?.provider === provider).map(({ args }) => args?.op_name ?? ""));
  return { cpu: on("CPUExecutionProvider"), webgpu: on("WebGpuExecutionProvider") };
}
