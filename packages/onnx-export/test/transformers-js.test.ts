import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Tensor } from "@loomweight/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { withExport } from "./exported.ts";

type Transformers = typeof import("@huggingface/transformers");
let transformers: Transformers;

beforeAll(async () => {
  transformers = await import("@huggingface/transformers");
  transformers.env.allowRemoteModels = false;
  transformers.env.useFSCache = false;
}, 60_000);

const area = fixtureArea("models") ?? "";
const dtypes = ["fp32", "q8", "q4"] as const;
type KnownDType = (typeof dtypes)[number];

/** The name under which transformers.js finds a local folder. It remembers names, so every folder needs its own. */
function localName(folder: string): string {
  transformers.env.localModelPath = dirname(dirname(folder));
  return `${basename(dirname(folder))}/${basename(folder)}`;
}

/** Runs `use` with transformers.js' pipeline over an exported folder, for each dtype. */
async function withPipelines(
  folder: string,
  task: "text-generation" | "text-classification" | "image-classification",
  use: (
    run: (input: unknown, options?: Record<string, unknown>) => Promise<unknown>,
    dtype: KnownDType,
  ) => Promise<void>,
): Promise<void> {
  await withExport(folder, async (exported) => {
    const model = localName(exported);
    for (const dtype of dtypes) {
      const pipe = await transformers.pipeline(task, model, { dtype, device: "cpu" });
      await use(pipe as never, dtype);
      await pipe.dispose();
    }
  });
}

interface ScribeRecord {
  readonly prompts: readonly { readonly name: string; readonly text: string }[];
  readonly models: Readonly<Record<string, { readonly prompts: readonly { readonly greedy_text: string }[] }>>;
}

describe.skipIf(area === "")("transformers.js loads exported folders", () => {
  for (const name of fixtureCases("models", { within: "scribe", marker: "config.json" })) {
    test(`${name} writes the recorded text in fp32, and text in q8 and q4`, { timeout: 120_000 }, async () => {
      const { prompts, models } = readFixtureJson<ScribeRecord>(join(area, "scribe/expected.json"));
      await withPipelines(join(area, "scribe", name), "text-generation", async (run, dtype) => {
        for (const [index, { text }] of prompts.entries()) {
          const options = { max_new_tokens: 32, do_sample: false, return_full_text: false };
          const [{ generated_text: made }] = (await run(text, options)) as { generated_text: string }[];
          const recorded = models[name].prompts[index].greedy_text;
          if (dtype === "fp32") expect(made).toBe(recorded);
          // 4 and 8 bits may choose otherwise at a close call, and go on from there
          else expect(made.length, `${dtype}: ${JSON.stringify(made)}`).toBeGreaterThan(recorded.length / 3);
        }
      });
    });
  }

  test("a batch of prompts of different lengths, padded on the left, writes what each prompt writes alone", {
    timeout: 120_000,
  }, async () => {
    const { prompts, models } = readFixtureJson<ScribeRecord>(join(area, "scribe/expected.json"));
    const [name] = fixtureCases("models", { within: "scribe", marker: "config.json" });
    await withPipelines(join(area, "scribe", name), "text-generation", async (run, dtype) => {
      if (dtype !== "fp32") return;
      const texts = prompts.map(({ text }) => text);
      const options = { max_new_tokens: 32, do_sample: false, return_full_text: false };
      const made = (await run(texts, options)) as { generated_text: string }[][];
      expect(made.map(([{ generated_text: text }]) => text)).toEqual(
        models[name].prompts.map(({ greedy_text: text }) => text),
      );
    });
  });

  for (const name of fixtureCases("models", { within: "sorter", marker: "config.json" })) {
    test(`${name} gives the recorded labels, and in fp32 the recorded scores`, { timeout: 60_000 }, async () => {
      const { prompts, models } = readFixtureJson<{
        readonly prompts: readonly { readonly text: string }[];
        readonly models: Record<string, { readonly logits: readonly string[]; readonly predicted: readonly string[] }>;
      }>(join(area, "sorter/expected.json"));
      const logits = readFixtureTensors(join(area, "sorter/expected.safetensors"));
      await withPipelines(join(area, "sorter", name), "text-classification", async (run, dtype) => {
        for (const [index, { text }] of prompts.entries()) {
          const [{ label, score }] = (await run(text)) as { label: string; score: number }[];
          expect(label, `${dtype} of ${JSON.stringify(text)}`).toBe(models[name].predicted[index]);
          const shares = softmax(logits.get(models[name].logits[index]) as Tensor, 0);
          if (dtype === "fp32") expect(Math.abs(score - Math.max(...shares))).toBeLessThanOrEqual(1e-4);
        }
      });
    });
  }

  for (const name of fixtureCases("models", { within: "glyph", marker: "config.json" })) {
    test(`${name} gives the recorded labels and scores of images in fp32, and in q8 and q4 the sure ones`, {
      timeout: 60_000,
    }, async () => {
      const record = readFixtureJson<{ models: Record<string, { logits: Record<string, string> }> }>(
        join(area, "glyph/expected.json"),
      );
      const logits = readFixtureTensors(join(area, "glyph/expected.safetensors"));
      const evaluation = readFixtureTensors(join(area, "glyph/eval.safetensors"));
      await withPipelines(join(area, "glyph", name), "image-classification", async (run, dtype) => {
        for (const [domain, key] of Object.entries(record.models[name].logits)) {
          const images = evaluation.get(`images.${domain}`)?.data as Uint8Array;
          for (let index = 0; index < 3; index++) {
            const bytes = images.slice(index * 784, (index + 1) * 784);
            const [best] = (await run(new transformers.RawImage(bytes, 28, 28, 1))) as {
              label: string;
              score: number;
            }[];
            const shares = softmax(logits.get(key) as Tensor, index);
            const score = Math.max(...shares);
            if (dtype === "fp32" || score > 0.9)
              expect(best.label, `${dtype} ${domain}`).toBe(`${shares.indexOf(score)}`);
            if (dtype === "fp32") expect(Math.abs(best.score - score)).toBeLessThanOrEqual(1e-4);
          }
        }
      });
    });
  }

  test("a folder that holds q4 only is loaded without naming a dtype", { timeout: 60_000 }, async () => {
    const [name] = fixtureCases("models", { within: "sorter", marker: "config.json" });
    await withExport(
      join(area, "sorter", name),
      async (exported) => {
        const config = JSON.parse(await readFile(join(exported, "config.json"), "utf8"));
        expect(config["transformers.js_config"]).toEqual({ dtype: "q4" });
        const pipe = await transformers.pipeline("text-classification", localName(exported));
        expect(await pipe("Ophelia")).toMatchObject([{ label: "name" }]);
        await pipe.dispose();
      },
      ["q4"],
    );
  });
});

/** softmax of row `row` of [rows, classes], in float64. */
function softmax({ data, shape }: Tensor, row: number): number[] {
  const values = Array.from((data as Float32Array).subarray(row * shape[1], (row + 1) * shape[1]));
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
