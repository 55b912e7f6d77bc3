import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Task } from "@loomweight/models";
import type { Tensor } from "@loomweight/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import type { ExportOptions } from "../src/index.ts";
import { exportFolder } from "../src/node/index.ts";
import { giveTokenizer, lonelyWord, textOf, word } from "./pipelines/folder.ts";

// Recorded models have no tokenizer: they get one in which "<7>" is token 7, so that recorded ids become text and back.

type Transformers = typeof import("@huggingface/transformers");
type Output = { dims: number[]; data: Float32Array };
let transformers: Transformers;

beforeAll(async () => {
  transformers = await import("@huggingface/transformers");
  transformers.env.allowRemoteModels = false;
  transformers.env.useFSCache = false;
}, 60_000);

const area = fixtureArea("architectures") ?? "";
const present = new Set(fixtureCases("architectures", { marker: "expected.json" }));

interface Case {
  /** Name that transformers.js loads. */
  readonly model: string;
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly greedy: readonly (readonly number[])[];
  /** Column of row 0 whose word the tokenizer takes for its mask: it occurs nowhere else. */
  readonly masked: number;
  /** Recorded row of ids as text; padding left out. */
  text(row: number): string;
}

/** A test of one recorded model as transformers.js loads its export; skipped where the model is not among the fixtures. */
function exported(
  name: string,
  what: string,
  task: Task | undefined,
  use: (each: Case) => Promise<void>,
  options: ExportOptions = {},
): void {
  test(`${name}: ${what}`, { timeout: 120_000 }, async (context) => {
    if (!present.has(name)) context.skip("this folder is not among the fixtures at hand");
    const root = await mkdtemp(join(tmpdir(), "loomweight-tasks-"));
    try {
      await cp(join(area, name), join(root, "model"), { recursive: true });
      const tensors = readFixtureTensors(join(area, name, "expected.safetensors"));
      const { masked, maskId } = lonelyWord(tensors);
      await giveTokenizer(join(root, "model"), maskId);
      const out = join(root, "web");
      await exportFolder(join(root, "model"), out, { task, dtypes: ["fp32"], verify: false, ...options });
      transformers.env.localModelPath = dirname(dirname(out));
      const { greedy = [] } = readFixtureJson<{ greedy?: number[][] }>(join(area, name, "expected.json"));
      await use({ model: `${basename(root)}/web`, tensors, greedy, masked, text: (row) => textOf(tensors, row) });
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
}

/** Recorded row [start, start + count) of a tensor, flat. */
function recorded(tensors: ReadonlyMap<string, Tensor>, name: string, start: number, count: number): number[] {
  const { data } = tensors.get(name) as Tensor;
  return Array.from((data as Float32Array).subarray(start, start + count));
}

function expectNear(actual: ArrayLike<number>, expected: readonly number[], what: string): void {
  expect(actual.length, what).toBe(expected.length);
  for (const [i, value] of expected.entries()) {
    expect(Math.abs(actual[i] - value), `${what} at ${i}`).toBeLessThanOrEqual(1e-4 + 1e-4 * Math.abs(value));
  }
}

const softmax = (values: readonly number[]): number[] => {
  const powers = values.map((value) => Math.exp(value - Math.max(...values)));
  const sum = powers.reduce((total, power) => total + power);
  return powers.map((power) => power / sum);
};

/** A recorded tensor as transformers.js takes it. */
const fed = ({ dtype, data, shape }: Tensor) => new transformers.Tensor(dtype as never, data as never, [...shape]);

const load = { dtype: "fp32", device: "cpu" } as const;

describe.skipIf(area === "")("transformers.js runs an export of every task", () => {
  for (const name of ["roberta", "mpnet", "modernbert"]) {
    exported(
      name,
      "feature-extraction gives the recorded states",
      "feature-extraction",
      async ({ model, tensors, text }) => {
        const pipe = await transformers.pipeline("feature-extraction", model, load);
        const made = (await pipe(text(0))) as unknown as Output;
        const [, tokens, size] = (tensors.get("out.last_hidden_state") as Tensor).shape;
        expect(made.dims).toEqual([1, tokens, size]);
        expectNear(made.data, recorded(tensors, "out.last_hidden_state", 0, tokens * size), name);
        await pipe.dispose();
      },
    );
    exported(name, "fill-mask gives the recorded shares", "fill-mask", async ({ model, tensors, text, masked }) => {
      const pipe = await transformers.pipeline("fill-mask", model, load);
      const made = (await pipe(text(0), { top_k: 5 })) as { score: number; token: number }[];
      const vocabulary = (tensors.get("out.logits") as Tensor).shape[2];
      const shares = softmax(recorded(tensors, "out.logits", masked * vocabulary, vocabulary));
      expect(made).toHaveLength(5);
      for (const { score, token } of made) expect(Math.abs(score - shares[token])).toBeLessThanOrEqual(1e-4);
      await pipe.dispose();
    });
  }

  exported("bert", "fed with token types, gives the recorded logits", "fill-mask", async ({ model, tensors }) => {
    const loaded = await transformers.AutoModelForMaskedLM.from_pretrained(model, load);
    const inputs = [...tensors].filter(([key]) => key.startsWith("in."));
    const { logits } = await loaded(Object.fromEntries(inputs.map(([key, tensor]) => [key.slice(3), fed(tensor)])));
    const [, tokens, vocabulary] = (tensors.get("out.logits") as Tensor).shape;
    const count = tokens * vocabulary; // row 0 has no padding
    expectNear(logits.data.slice(0, count), recorded(tensors, "out.logits", 0, count), "logits");
    await loaded.dispose();
  });

  for (const name of ["bert_sequence_classification", "distilbert", "electra"]) {
    exported(name, "text-classification gives the recorded shares", undefined, async ({ model, tensors, text }) => {
      const pipe = await transformers.pipeline("text-classification", model, load);
      const made = (await pipe([text(0), text(1)], { top_k: 3 })) as unknown as { label: string; score: number }[][];
      if (tensors.get("in.token_type_ids") === undefined) {
        // recorded token types are not those that a tokenizer gives a single text
        const shares = softmax(recorded(tensors, "out.logits", 0, 3));
        for (const { label, score } of made[0]) {
          expect(Math.abs(score - shares[Number(label.replace("LABEL_", ""))]), label).toBeLessThanOrEqual(1e-4);
        }
      }
      for (const row of made) expect(row.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 5);
      await pipe.dispose();
    });
  }

  for (const name of ["bert_sequence_classification", "distilbert"]) {
    exported(name, "token-classification labels every word", "token-classification", async ({ model, text }) => {
      const pipe = await transformers.pipeline("token-classification", model, load);
      const made = (await pipe(text(0), { ignore_labels: [] })) as { entity: string; word: string }[];
      expect(made.length).toBeGreaterThan(5);
      for (const { entity } of made) expect(["LABEL_0", "LABEL_1", "LABEL_2"]).toContain(entity);
      await pipe.dispose();
    });
  }

  for (const name of ["t5", "bart"]) {
    exported(
      name,
      "text2text-generation writes the recorded tokens, in a padded batch too",
      undefined,
      async (each) => {
        const pipe = await transformers.pipeline("text2text-generation", each.model, load);
        const options = { max_new_tokens: 16, do_sample: false };
        const single = (await pipe(each.text(0), options)) as { generated_text: string }[];
        const both = (await pipe([each.text(0), each.text(1)], options)) as { generated_text: string }[];
        const words = each.greedy.map((ids) => ids.map(word).join(" "));
        expect(single[0].generated_text).toBe(words[0]);
        expect(both.map(({ generated_text: text }) => text)).toEqual(words);
        await pipe.dispose();
      },
    );
  }

  exported("whisper", "speech becomes the recorded tokens", undefined, async ({ model, tensors, greedy }) => {
    const loaded = await transformers.AutoModelForSpeechSeq2Seq.from_pretrained(model, load);
    const { data, shape } = tensors.get("in.input_features") as Tensor;
    const size = shape[1] * shape[2];
    for (const [row, tokens] of greedy.entries()) {
      const features = (data as Float32Array).slice(row * size, (row + 1) * size);
      const inputs = new transformers.Tensor("float32", features, [1, shape[1], shape[2]]);
      const made = (await loaded.generate({ inputs, max_new_tokens: 16 } as never)) as unknown as {
        tolist(): bigint[][];
      };
      expect(made.tolist()[0].slice(-16).map(Number)).toEqual(tokens);
    }
    await loaded.dispose();
  });

  for (const name of ["clip", "siglip"]) {
    exported(name, "texts and images are compared as recorded, and by the pipeline", undefined, async (each) => {
      const { model, tensors } = each;
      const loaded = await transformers.AutoModel.from_pretrained(model, load);
      const inputs = [...tensors].filter(([key]) => key.startsWith("in."));
      const made = await loaded(Object.fromEntries(inputs.map(([key, tensor]) => [key.slice(3), fed(tensor)])));
      for (const key of ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]) {
        const { data, shape } = tensors.get(`out.${key}`) as Tensor;
        expect(made[key].dims, key).toEqual(shape);
        expectNear(made[key].data, Array.from(data as Float32Array), key);
      }
      await loaded.dispose();
      const pipe = await transformers.pipeline("zero-shot-image-classification", model, load);
      const image = new transformers.RawImage(
        new Uint8Array(20 * 20 * 3).map((_, i) => (i * 37) % 251),
        20,
        20,
        3,
      );
      // the pipeline pads SigLIP's texts itself
      const labels = [each.text(0), each.text(1)];
      const scores = (await pipe(image, labels, { hypothesis_template: "{}" })) as { score: number }[];
      expect(scores).toHaveLength(2);
      for (const { score } of scores) expect(score > 0 && score <= 1).toBe(true);
      await pipe.dispose();
    });
    exported(name, "each tower is a file of its own", "feature-extraction", async ({ model, tensors }) => {
      const { CLIPTextModelWithProjection, CLIPVisionModelWithProjection, SiglipTextModel, SiglipVisionModel } =
        transformers;
      const [Text, Vision] =
        name === "clip"
          ? [CLIPTextModelWithProjection, CLIPVisionModelWithProjection]
          : [SiglipTextModel, SiglipVisionModel];
      const [text, vision] = await Promise.all([Text, Vision].map((each) => each.from_pretrained(model, load)));
      const given = (keys: readonly string[]) =>
        Object.fromEntries(
          keys.flatMap((key) => {
            const tensor = tensors.get(`in.${key}`);
            return tensor === undefined ? [] : [[key, fed(tensor)]];
          }),
        );
      const texts = await text(given(["input_ids", "attention_mask"]));
      const images = await vision(given(["pixel_values"]));
      const pooled = (kind: string) =>
        Array.from((tensors.get(`out.${kind}_pooler_output`) as Tensor).data as Float32Array);
      expectNear((texts.text_embeds ?? texts.pooler_output).data, pooled("text"), "text");
      expectNear((images.image_embeds ?? images.pooler_output).data, pooled("vision"), "vision");
      await Promise.all([text.dispose(), vision.dispose()]);
    });
  }

  for (const name of ["vit", "deit", "convnext", "resnet"]) {
    exported(name, "images get the recorded logits", undefined, async ({ model, tensors }) => {
      const loaded = await transformers.AutoModelForImageClassification.from_pretrained(model, load);
      const { logits } = await loaded({ pixel_values: fed(tensors.get("in.pixel_values") as Tensor) });
      const { data } = tensors.get("out.logits") as Tensor;
      expectNear(logits.data, Array.from(data as Float32Array), name);
      await loaded.dispose();
    });
  }

  exported(
    "dinov2",
    "image-feature-extraction gives states of an image of any size",
    undefined,
    async ({ model, tensors }) => {
      const loaded = await transformers.AutoModel.from_pretrained(model, load);
      const made = await loaded({ pixel_values: fed(tensors.get("in.pixel_values") as Tensor) });
      const { data } = tensors.get("out.last_hidden_state") as Tensor;
      expectNear(made.last_hidden_state.data, Array.from(data as Float32Array), "last_hidden_state");
      await loaded.dispose();
      const pipe = await transformers.pipeline("image-feature-extraction", model, load);
      const image = new transformers.RawImage(
        new Uint8Array(40 * 30 * 3).map((_, i) => (i * 37) % 251),
        40,
        30,
        3,
      );
      const states = (await pipe(image)) as unknown as Output;
      expect(states.dims).toEqual([1, 1 + 8 * 6, 32]);
      await pipe.dispose();
    },
  );

  for (const name of ["gpt2", "qwen3"]) {
    exported(
      name,
      "with num_logits_to_keep, generates the recorded tokens from one position's logits, and gives all when called",
      undefined,
      async ({ model, tensors, greedy }) => {
        const loaded = await transformers.AutoModelForCausalLM.from_pretrained(model, load);
        const { sessions } = loaded as unknown as {
          sessions: Record<string, { run(feeds: object): Promise<{ logits: Output }> }>;
        };
        const widths: number[] = [];
        const run = sessions.model.run.bind(sessions.model);
        sessions.model.run = async (feeds) => {
          const outputs = await run(feeds);
          widths.push(outputs.logits.dims[1]);
          return outputs;
        };
        const inputs = Object.fromEntries(
          ["input_ids", "attention_mask"].map((key) => [key, fed(tensors.get(`in.${key}`) as Tensor)]),
        );
        const made = (await loaded.generate({
          ...inputs,
          max_new_tokens: 16,
          do_sample: false,
        } as never)) as unknown as {
          tolist(): bigint[][];
        };
        expect(made.tolist().map((row) => row.slice(-16).map(Number))).toEqual(greedy);
        expect(widths).toEqual(new Array(16).fill(1));
        const recordedLogits = tensors.get("out.logits") as Tensor;
        const { logits } = await loaded(inputs);
        expect(logits.dims).toEqual(recordedLogits.shape);
        const [, width, vocabulary] = recordedLogits.shape;
        const all = recorded(tensors, "out.logits", 0, width * vocabulary); // row 0 has no padding
        expectNear(logits.data.slice(0, width * vocabulary), all, "logits");
        await loaded.dispose();
      },
      { logitsToKeep: true },
    );
  }

  for (const name of ["gpt2", "gemma3_text", "qwen3", "phi3"]) {
    exported(name, "text-generation writes the recorded tokens", undefined, async ({ model, text, greedy }) => {
      const pipe = await transformers.pipeline("text-generation", model, load);
      const options = { max_new_tokens: 16, do_sample: false, return_full_text: false };
      const made = (await pipe(text(0), options)) as { generated_text: string }[];
      expect(made[0].generated_text.trim()).toBe(greedy[0].map(word).join(" "));
      await pipe.dispose();
    });
  }
});
