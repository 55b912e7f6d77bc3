import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSession, type Session } from "@loomweight/graph/node";
import { fromData, type Tensor } from "@loomweight/tensor";
import { type ExportDType, type ExportOptions, modelFileName } from "../src/index.ts";
import { exportFolder } from "../src/node/index.ts";

export const replayed: readonly ExportDType[] = ["fp32", "q8", "q4"];

/** Exports a model folder into a temporary folder for the time of `use`. */
export async function withExport<T>(
  folder: string,
  use: (exported: string) => Promise<T>,
  dtypes: readonly ExportDType[] = replayed,
  options: ExportOptions = {},
): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), "loomweight-export-"));
  try {
    await exportFolder(folder, join(root, "web"), { ...options, dtypes, verify: false });
    return await use(join(root, "web"));
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** A session for one model file of an export, closed after `use`. */
export async function withSession<T>(
  exported: string,
  dtype: ExportDType,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(join(exported, "onnx", modelFileName(dtype)), { threads: 1 });
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

export function int64(values: ArrayLike<number | bigint>, shape: readonly number[]): Tensor {
  return fromData("int64", BigInt64Array.from(Array.from(values), BigInt), shape);
}

/** Feeds of a decoder for unpadded rows of ids, with an empty cache. */
export function decoderFeeds(session: Session, ids: Tensor): Record<string, Tensor> {
  const [rows, width] = ids.shape;
  const feeds: Record<string, Tensor> = {
    input_ids: ids,
    attention_mask: int64(new Array<number>(rows * width).fill(1), [rows, width]),
    position_ids: int64(
      Array.from({ length: rows * width }, (_, i) => i % width),
      [rows, width],
    ),
  };
  for (const { name, shape } of session.inputs) {
    if (!name.startsWith("past_key_values.")) continue;
    feeds[name] = fromData("float32", new Float32Array(0), [rows, Number(shape[1]), 0, Number(shape[3])]);
  }
  return feeds;
}

/** Greedy continuation of one prompt, one cached step a token. */
export async function greedy(session: Session, prompt: readonly number[], count: number): Promise<number[]> {
  let feeds = decoderFeeds(session, int64(prompt, [1, prompt.length]));
  const made: number[] = [];
  for (let step = 0; step < count; step++) {
    const outputs = await session.run(feeds);
    const [, width, vocabulary] = outputs.logits.shape;
    made.push(largestAt(outputs.logits.data as Float32Array, (width - 1) * vocabulary, vocabulary));
    const total = prompt.length + made.length;
    feeds = {
      input_ids: int64(made.slice(-1), [1, 1]),
      attention_mask: int64(new Array<number>(total).fill(1), [1, total]),
      position_ids: int64([total - 1], [1, 1]),
    };
    for (const [name, tensor] of Object.entries(outputs)) {
      if (name.startsWith("present.")) feeds[name.replace("present.", "past_key_values.")] = tensor;
    }
  }
  return made;
}

/** Where the largest of `count` values from `start` on is, relative to `start`. */
export function largestAt(values: Float32Array, start: number, count: number): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (values[start + i] > values[start + best]) best = i;
  return best;
}

/** −log softmax(values[start …])[target], in float64. */
export function crossEntropy(values: Float32Array, start: number, count: number, target: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + count; i++) largest = Math.max(largest, values[i]);
  let sum = 0;
  for (let i = start; i < start + count; i++) sum += Math.exp(values[i] - largest);
  return Math.log(sum) + largest - values[start + target];
}

/** Largest |a − b|; NaN counts as infinite, unequal lengths are an error. */
export function maxDifference(a: Tensor, b: Tensor): number {
  if (a.data.length !== b.data.length) throw new Error(`[${a.shape}] and [${b.shape}] differ in size`);
  let worst = 0;
  for (let i = 0; i < a.data.length; i++) {
    const difference = Math.abs(Number(a.data[i]) - Number(b.data[i]));
    worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  return worst;
}
