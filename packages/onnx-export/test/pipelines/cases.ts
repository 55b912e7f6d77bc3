import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeSafetensors } from "@loomweight/checkpoint";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Task } from "@loomweight/models";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect } from "vitest";
import type { ExportDType } from "../../src/index.ts";
import { exportFolder } from "../../src/node/index.ts";
import { giveTokenizer, lonelyWord, type TokenizerChoice, textOf, word } from "./folder.ts";
import type { PipelineRequest } from "./run-request.ts";

/** A pipeline over one recorded model: what it is called with and what it has to give, which follows from the recording. */
export interface PipelineCase {
  readonly task: string;
  /** Folder among the recorded architectures. */
  readonly folder: string;
  /** Task of the export; default what config.json names. */
  readonly exportAs?: Task;
  readonly tokenizer?: (recorded: Recorded) => TokenizerChoice;
  /** Weights that the recorded model lacks. */
  readonly added?: Readonly<Record<string, Tensor>>;
  /** Other files of the folder. */
  readonly files?: Readonly<Record<string, unknown>>;
  readonly request: (recorded: Recorded) => Omit<PipelineRequest, "model" | "task">;
  /** Asserts numbers; `atol` is what the device allows. */
  readonly check: (made: unknown, recorded: Recorded, atol: number) => void;
}

export interface Recorded {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly greedy: readonly (readonly number[])[];
  /** Column of row 0 whose word occurs nowhere else. */
  readonly masked: number;
  readonly maskId: number;
}

type Flat = { readonly dims: readonly number[]; readonly data: readonly number[] };

const area = fixtureArea("architectures") ?? "";
const present = new Set(fixtureCases("architectures", { marker: "expected.json" }));

export const isPresent = ({ folder }: PipelineCase): boolean => present.has(folder);

/** Name of a case's export inside the folder of all. */
export const caseName = ({ task, folder }: PipelineCase): string => `${task}-${folder}`;

/** Exports a case into `root` and returns what is recorded of its model. */
export async function prepareCase(each: PipelineCase, root: string, dtypes: readonly ExportDType[]): Promise<Recorded> {
  const source = join(area, each.folder);
  const model = join(root, "sources", caseName(each));
  await cp(source, model, { recursive: true });
  const tensors = readFixtureTensors(join(source, "expected.safetensors"));
  const weights = readFixtureTensors(join(source, "model.safetensors"));
  const { greedy = [] } = readFixtureJson<{ greedy?: number[][] }>(join(source, "expected.json"));
  const recorded = { tensors, weights, greedy, ...lonelyWord(tensors) };
  if (each.added !== undefined) {
    const all = new Map([...weights, ...Object.entries(each.added)]);
    await writeFile(join(model, "model.safetensors"), writeSafetensors(all));
  }
  for (const [name, content] of Object.entries(each.files ?? {})) {
    await mkdir(join(model, name, ".."), { recursive: true });
    await writeFile(join(model, name), JSON.stringify(content));
  }
  await giveTokenizer(model, recorded.maskId, each.tokenizer?.(recorded));
  const out = join(root, caseName(each));
  await exportFolder(model, out, { task: each.exportAs, dtypes, verify: false });
  return recorded;
}

/** Recorded values [start, start + count), flat. */
function values({ tensors }: Recorded, name: string, start: number, count: number): number[] {
  return Array.from(((tensors.get(name) as Tensor).data as Float32Array).subarray(start, start + count));
}

const shapeOf = ({ tensors }: Recorded, name: string) => tensors.get(name)?.shape as readonly number[];

function expectNear(actual: readonly number[], expected: readonly number[], atol: number): void {
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of expected.entries()) {
    expect(Math.abs(actual[i] - value), `value ${i}`).toBeLessThanOrEqual(atol + atol * Math.abs(value));
  }
}

function softmax(logits: readonly number[]): number[] {
  const powers = logits.map((value) => Math.exp(value - Math.max(...logits)));
  const sum = powers.reduce((total, power) => total + power);
  return powers.map((power) => power / sum);
}

/** Labels and scores, in order of the labels' numbers. */
function byLabel(made: unknown): number[] {
  const list = made as readonly { readonly label: string; readonly score: number }[];
  const sorted = [...list].sort((a, b) => (a.label < b.label ? -1 : 1));
  expect(sorted.map(({ label }) => label)).toEqual(sorted.map((_, i) => `LABEL_${i}`));
  return sorted.map(({ score }) => score);
}

/** Recorded hidden states of row 0, real positions alone: [tokens][hidden]. */
function statesOf(recorded: Recorded): number[][] {
  const [, width, size] = shapeOf(recorded, "out.last_hidden_state");
  return Array.from({ length: width }, (_, token) => values(recorded, "out.last_hidden_state", token * size, size));
}

/** x · Wᵀ + b in float64. */
function linear(x: readonly number[], weight: Tensor, bias: Tensor): number[] {
  const w = weight.data as Float32Array;
  return Array.from(bias.data as Float32Array, (shift, out) =>
    x.reduce((sum, value, i) => sum + value * w[out * x.length + i], shift),
  );
}

/** Recorded pixels of image 0, [height, width, channels]. */
function imageOf(recorded: Recorded): PipelineRequest["image"] {
  const [, channels, height, width] = shapeOf(recorded, "in.pixel_values");
  const planes = values(recorded, "in.pixel_values", 0, channels * height * width);
  const data = Array.from(
    { length: planes.length },
    (_, i) => planes[(i % channels) * height * width + Math.floor(i / channels)],
  );
  return { data, width, height };
}

const rawPixels = () => ({ rawPixels: true });
const text = (recorded: Recorded, row = 0) => textOf(recorded.tensors, row);
const greedyOptions = { max_new_tokens: 16, do_sample: false };
const greedyText = ({ greedy }: Recorded) => greedy[0].map(word).join(" ");

const questionWeights = {
  "qa_outputs.weight": fromData(
    "float32",
    Float32Array.from({ length: 64 }, (_, i) => (((i * 37) % 19) - 9) / 10),
    [2, 32],
  ),
  "qa_outputs.bias": fromData("float32", Float32Array.of(0.3, -0.2), [2]),
};

const pooledFiles = {
  "modules.json": ["Transformer", "Pooling", "Normalize"].map((kind, idx) => ({
    idx,
    name: `${idx}`,
    path: idx === 0 ? "" : `${idx}_${kind}`,
    type: `sentence_transformers.models.${kind}`,
  })),
  "1_Pooling/config.json": {
    word_embedding_dimension: 32,
    pooling_mode_cls_token: false,
    pooling_mode_mean_tokens: true,
  },
};

/** Mean of row 0's states, of unit length. */
function sentenceOf(recorded: Recorded): number[] {
  const states = statesOf(recorded);
  const mean = states[0].map((_, i) => states.reduce((sum, state) => sum + state[i], 0) / states.length);
  const length = Math.hypot(...mean);
  return mean.map((value) => value / length);
}

function decoder(folder: string): PipelineCase {
  return {
    task: "text-generation",
    folder,
    request: (recorded) => ({ texts: [text(recorded)], options: { ...greedyOptions, return_full_text: false } }),
    check: (made, recorded) => {
      const [{ generated_text: written }] = made as { generated_text: string }[];
      expect(written.trim()).toBe(greedyText(recorded));
    },
  };
}

function twoTowers(folder: string, scores: (logits: readonly number[]) => number[]): PipelineCase {
  return {
    task: "zero-shot-image-classification",
    folder,
    tokenizer: rawPixels,
    request: (recorded) => ({
      image: imageOf(recorded),
      texts: [[0, 1, 2].map((row) => text(recorded, row))],
      options: { hypothesis_template: "{}" },
    }),
    check: (made, recorded, atol) => {
      const expected = scores(values(recorded, "out.logits_per_image", 0, 3));
      const found = made as { label: string; score: number }[];
      const inOrder = [0, 1, 2].map((row) => found.find(({ label }) => label === text(recorded, row))?.score ?? -1);
      expectNear(inOrder, expected, atol);
    },
  };
}

function encoderDecoder(folder: string): PipelineCase {
  return {
    task: "text2text-generation",
    folder,
    request: (recorded) => ({ texts: [text(recorded)], options: greedyOptions }),
    check: (made, recorded) => {
      const [{ generated_text: written }] = made as { generated_text: string }[];
      expect(written).toBe(greedyText(recorded));
    },
  };
}

/** One of each task that transformers.js has a pipeline for. */
export const pipelineCases: readonly PipelineCase[] = [
  decoder("llama"),
  decoder("qwen2"),
  {
    task: "feature-extraction",
    folder: "roberta",
    exportAs: "feature-extraction",
    request: (recorded) => ({ texts: [text(recorded)] }),
    check: (made, recorded, atol) => {
      const { dims, data } = made as Flat;
      const [, tokens, size] = shapeOf(recorded, "out.last_hidden_state");
      expect(dims).toEqual([1, tokens, size]);
      expectNear(data, values(recorded, "out.last_hidden_state", 0, tokens * size), atol);
    },
  },
  {
    task: "feature-extraction",
    folder: "mpnet",
    files: pooledFiles,
    request: (recorded) => ({ texts: [text(recorded)], options: { pooling: "mean", normalize: true } }),
    check: (made, recorded, atol) => expectNear((made as Flat).data, sentenceOf(recorded), atol),
  },
  {
    task: "fill-mask",
    folder: "roberta",
    request: (recorded) => ({ texts: [text(recorded)], options: { top_k: 5 } }),
    check: (made, recorded, atol) => {
      const vocabulary = shapeOf(recorded, "out.logits")[2];
      const shares = softmax(values(recorded, "out.logits", recorded.masked * vocabulary, vocabulary));
      const best = [...shares].sort((a, b) => b - a).slice(0, 5);
      const found = made as { score: number; token: number }[];
      expectNear(
        found.map(({ score }) => score),
        best,
        atol,
      );
      for (const { score, token } of found) expect(Math.abs(score - shares[token])).toBeLessThanOrEqual(atol);
    },
  },
  {
    task: "text-classification",
    folder: "distilbert",
    request: (recorded) => ({ texts: [text(recorded)], options: { top_k: 3 } }),
    check: (made, recorded, atol) => expectNear(byLabel(made), softmax(values(recorded, "out.logits", 0, 3)), atol),
  },
  {
    task: "token-classification",
    folder: "distilbert",
    exportAs: "token-classification",
    request: (recorded) => ({ texts: [text(recorded)], options: { ignore_labels: [] } }),
    check: (made, recorded, atol) => {
      const { weights } = recorded;
      const [weight, bias] = ["weight", "bias"].map((part) => weights.get(`classifier.${part}`) as Tensor);
      const shares = statesOf(recorded).map((state) => softmax(linear(state, weight, bias)));
      const found = made as { entity: string; score: number; index: number }[];
      expect(found.length).toBeGreaterThan(5);
      for (const { entity, score, index } of found) {
        const best = shares[index].indexOf(Math.max(...shares[index]));
        expect(entity).toBe(`LABEL_${best}`);
        expect(Math.abs(score - shares[index][best])).toBeLessThanOrEqual(atol);
      }
    },
  },
  {
    task: "question-answering",
    folder: "roberta",
    exportAs: "question-answering",
    added: questionWeights,
    // the lonely word divides question and context: together they are the recorded row
    tokenizer: ({ maskId }) => ({ separator: maskId }),
    request: (recorded) => {
      const words = text(recorded).split(" ");
      const [question, context] = [words.slice(0, recorded.masked), words.slice(recorded.masked + 1)];
      return { texts: [question.join(" "), context.join(" ")], options: { top_k: 3 } };
    },
    check: (made, recorded, atol) => {
      const { "qa_outputs.weight": weight, "qa_outputs.bias": bias } = questionWeights;
      const words = text(recorded).split(" ");
      const logits = statesOf(recorded).map((state) => linear(state, weight, bias));
      // the first token stays in the shares, although it is no answer
      const allowed = (i: number) => i === 0 || i > recorded.masked;
      const shares = [0, 1].map((side) =>
        softmax(logits.map((pair, i) => (allowed(i) ? pair[side] : Number.NEGATIVE_INFINITY))),
      );
      const spans = words.flatMap((_, start) =>
        words.map((_, end) => ({
          start,
          end,
          score: end >= start && start > 0 ? shares[0][start] * shares[1][end] : 0,
        })),
      );
      const best = spans.sort((a, b) => b.score - a.score).slice(0, 3);
      const found = (made as { answer: string; score: number }[][]).flat();
      expectNear(
        found.map(({ score }) => score),
        best.map(({ score }) => score),
        atol,
      );
      const { start, end } = best[0];
      expect(found[0].answer.trim()).toBe(words.slice(start, end + 1).join(" "));
    },
  },
  {
    task: "image-classification",
    folder: "vit",
    tokenizer: rawPixels,
    request: (recorded) => ({ image: imageOf(recorded), options: { top_k: 3 } }),
    check: (made, recorded, atol) => expectNear(byLabel(made), softmax(values(recorded, "out.logits", 0, 3)), atol),
  },
  {
    task: "image-feature-extraction",
    folder: "dinov2",
    tokenizer: rawPixels,
    request: (recorded) => ({ image: imageOf(recorded) }),
    check: (made, recorded, atol) => {
      const { dims, data } = made as Flat;
      const [, tokens, size] = shapeOf(recorded, "out.last_hidden_state");
      expect(dims).toEqual([1, tokens, size]);
      expectNear(data, values(recorded, "out.last_hidden_state", 0, tokens * size), atol);
    },
  },
  twoTowers("clip", softmax),
  twoTowers("siglip", (logits) => logits.map((value) => 1 / (1 + Math.exp(-value)))),
  encoderDecoder("t5"),
  encoderDecoder("bart"),
  {
    task: "automatic-speech-recognition",
    folder: "whisper",
    tokenizer: () => ({ tokenizerClass: "WhisperTokenizer" }),
    request: (recorded) => {
      const [, bins, frames] = shapeOf(recorded, "in.input_features");
      const data = values(recorded, "in.input_features", 0, bins * frames);
      return { features: { data, shape: [1, bins, frames] }, options: greedyOptions };
    },
    check: (made, recorded) => expect((made as { text: string }).text.trim()).toBe(greedyText(recorded)),
  },
];

/** What the model itself gives beside the states: the sentence, pooled as the folder says. */
export const sentenceCase: PipelineCase = {
  ...(pipelineCases.find(({ files }) => files === pooledFiles) as PipelineCase),
  request: (recorded) => ({ texts: [text(recorded)], output: "sentence_embedding" }),
};
