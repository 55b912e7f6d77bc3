import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea, fixtureCases, fixturesRoot, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Device } from "@loomweight/graph";
import { openSession, type Session } from "@loomweight/graph/node";
import { fromData, type Tensor, toFloat32 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import type { ExportDType } from "../src/index.ts";
import { exportFolder } from "../src/node/index.ts";
import { largestAt } from "./exported.ts";

// onnxruntime-genai has no JavaScript: its loop is written out here from what its source does with genai_config.json.

interface GenaiConfig {
  readonly model: {
    readonly type: string;
    readonly context_length: number;
    readonly vocab_size: number;
    readonly eos_token_id?: number | readonly number[];
    readonly pad_token_id?: number;
    readonly decoder: {
      readonly filename: string;
      readonly session_options: { readonly provider_options: readonly object[] };
      readonly head_size: number;
      readonly num_key_value_heads: number;
      readonly num_hidden_layers: number;
      readonly num_attention_heads: number;
      readonly inputs: Readonly<Record<string, string>>;
      readonly outputs: Readonly<Record<string, string>>;
    };
  };
  readonly search: Readonly<Record<string, unknown>>;
}

const area = fixtureArea("architectures") ?? "";
const decoders = fixtureCases("architectures", { marker: "expected.json" }).filter((name) => {
  const { architectures } = readFixtureJson<{ architectures?: readonly string[] }>(join(area, name, "config.json"));
  return /ForCausalLM|LMHeadModel/.test(architectures?.[0] ?? "");
});

async function withFolder(use: (root: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "loomweight-genai-"));
  try {
    await use(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function readConfig(path: string): Promise<GenaiConfig> {
  return JSON.parse(await readFile(join(path, "genai_config.json"), "utf8"));
}

const composed = (pattern: string, layer: number) => pattern.replace("%d", `${layer}`);

/** Greedy tokens after a prompt, from genai_config.json alone: names, sizes, cache; dtypes are the session's. */
async function generate(path: string, prompt: readonly number[], count: number): Promise<number[]> {
  const { model } = await readConfig(path);
  const { decoder } = model;
  const session = await openSession(join(path, decoder.filename), { threads: 1 });
  try {
    const dtypeOf = (name: string) => session.inputs.find((each) => each.name === name)?.dtype;
    const ids = (name: string, values: readonly number[]) => {
      expect(dtypeOf(name)).toBe("int64");
      return fromData("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    };
    const { inputs, outputs } = decoder;
    const layers = Array.from({ length: decoder.num_hidden_layers }, (_, layer) => layer);
    const pasts = (["key", "value"] as const).flatMap((part) =>
      layers.map((layer) => ({
        past: composed(inputs[`past_${part}_names`], layer),
        present: composed(outputs[`present_${part}_names`], layer),
      })),
    );
    expect(pasts.length).toBe(session.inputs.length - 3);
    const sequence = [...prompt];
    let fresh = sequence;
    let cache: Record<string, Tensor> = Object.fromEntries(
      pasts.map(({ past }) => {
        const shape = [1, decoder.num_key_value_heads, 0, decoder.head_size];
        const half = dtypeOf(past) === "float16";
        return [
          past,
          half ? fromData("float16", new Uint16Array(0), shape) : fromData("float32", new Float32Array(0), shape),
        ];
      }),
    );
    while (sequence.length < prompt.length + count) {
      const feeds: Record<string, Tensor> = {
        [inputs.input_ids]: ids(inputs.input_ids, fresh),
        [inputs.attention_mask]: ids(inputs.attention_mask, new Array<number>(sequence.length).fill(1)),
        [inputs.position_ids]: ids(
          inputs.position_ids,
          fresh.map((_, i) => sequence.length - fresh.length + i),
        ),
        ...cache,
      };
      const made = await session.run(feeds);
      const logits = made[outputs.logits];
      expect(logits.shape).toEqual([1, fresh.length, model.vocab_size]);
      fresh = [largestAt(toFloat32(logits) as Float32Array, (fresh.length - 1) * model.vocab_size, model.vocab_size)];
      sequence.push(...fresh);
      cache = Object.fromEntries(pasts.map(({ past, present }) => [past, made[present]]));
    }
    return sequence.slice(prompt.length);
  } finally {
    await session.close();
  }
}

/** Dtypes of a session's cache and logits. */
const halves = ({ inputs, outputs }: Session) => [
  inputs.find(({ name }) => name.startsWith("past_key_values."))?.dtype,
  outputs.find(({ name }) => name === "logits")?.dtype,
];

describe.skipIf(area === "")("a folder of onnxruntime-genai", () => {
  for (const name of decoders) {
    test(`${name}: its settings lead to the recorded tokens`, { timeout: 60_000 }, async () => {
      await withFolder(async (root) => {
        const out = join(root, "genai");
        await exportFolder(join(area, name), out, { target: "genai", dtypes: ["fp32"], verify: false });
        const tensors = readFixtureTensors(join(area, name, "expected.safetensors"));
        const { data, shape } = tensors.get("in.input_ids") as Tensor;
        const prompt = Array.from((data as BigInt64Array).subarray(0, shape[1]), Number);
        const { greedy } = readFixtureJson<{ greedy: number[][] }>(join(area, name, "expected.json"));
        expect(await generate(out, prompt, greedy[0].length)).toEqual(greedy[0]);
      });
    });
  }

  test("half precision has a cache and logits of half precision, 4 bits on float32 have not", {
    timeout: 60_000,
  }, async () => {
    await withFolder(async (root) => {
      const dtypes: Partial<Record<ExportDType, string>> = { fp16: "float16", q4f16: "float16", q4: "float32" };
      for (const [dtype, io] of Object.entries(dtypes) as [ExportDType, string][]) {
        const out = join(root, dtype);
        const report = await exportFolder(join(area, "llama"), out, { target: "genai", dtypes: [dtype] });
        expect(report.files.map((file) => [file.name, file.verification.ran])).toEqual([["model.onnx", true]]);
        const session = await openSession(join(out, "model.onnx"), { threads: 1 });
        expect(halves(session), dtype).toEqual([io, io]);
        await session.close();
        expect(await generate(out, [5, 6, 7, 8], 4)).toHaveLength(4);
      }
    });
  });

  test("genai_config.json says what the model's files say, in its reader's names", async () => {
    await withFolder(async (root) => {
      const model = join(fixturesRoot(), "models/scribe/scribe-base");
      const out = join(root, "genai");
      const { companions, target } = await exportFolder(model, out, { target: "genai" });
      expect(target).toBe("genai");
      expect(companions).toContain("genai_config.json");
      const files = await readdir(out);
      expect(files).toEqual(expect.arrayContaining(["genai_config.json", "model.onnx", "tokenizer.json"]));
      expect(files).not.toContain("onnx");
      const { model: settings, search } = await readConfig(out);
      const config = JSON.parse(await readFile(join(model, "config.json"), "utf8"));
      expect(settings).toMatchObject({
        type: "llama",
        context_length: config.max_position_embeddings,
        vocab_size: config.vocab_size,
        eos_token_id: config.eos_token_id,
        decoder: {
          filename: "model.onnx",
          head_size: config.head_dim ?? config.hidden_size / config.num_attention_heads,
          hidden_size: config.hidden_size,
          num_attention_heads: config.num_attention_heads,
          num_key_value_heads: config.num_key_value_heads,
          num_hidden_layers: config.num_hidden_layers,
          inputs: { input_ids: "input_ids", attention_mask: "attention_mask", position_ids: "position_ids" },
        },
      });
      expect(search).toMatchObject({
        do_sample: false,
        max_length: config.max_position_embeddings,
        past_present_share_buffer: false,
        num_beams: 1,
        temperature: 1,
      });
      expect(JSON.stringify({ settings, search })).not.toContain("null");
    });
  });

  test("one device alone is named as its provider; for several it is the CPU, which is everywhere", async () => {
    await withFolder(async (root) => {
      const model = join(fixturesRoot(), "models/scribe/scribe-base");
      const cases: [Device[] | undefined, object[]][] = [
        [undefined, []],
        [["cpu"], []],
        [["cpu", "webgpu"], []],
        [["webgpu"], [{ webgpu: {} }]],
        [["cuda"], [{ cuda: {} }]],
      ];
      for (const [i, [devices, providers]] of cases.entries()) {
        const out = join(root, `genai-${i}`);
        await exportFolder(model, out, { target: "genai", devices, verify: false });
        const { model: settings } = await readConfig(out);
        expect(settings.decoder.session_options.provider_options, `${devices}`).toEqual(providers);
      }
    });
  });

  test("what it cannot be is refused by name", async () => {
    await withFolder(async (root) => {
      const out = join(root, "out");
      const refused = (name: string, options: object) => exportFolder(join(area, name), out, options);
      await expect(refused("bert", { target: "genai" })).rejects.toMatchObject({ code: "UNSUPPORTED_TARGET" });
      await expect(refused("bert", { target: "genai" })).rejects.toThrow(/does not run bert for fill-mask.*llama/s);
      await expect(refused("llama", { target: "genai", dtypes: ["q4", "fp32"] })).rejects.toThrow(/one model file/);
      await expect(refused("llama", { target: "genai", adapterSlots: true })).rejects.toThrow(/adapter slots/);
      await expect(refused("llama", { target: "genai", logitsToKeep: true })).rejects.toThrow(/num_logits_to_keep/);
      await expect(refused("llama", { target: "gena" })).rejects.toThrow(/genai/);
    });
  });
});
