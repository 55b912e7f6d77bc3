import { openCheckpoint } from "@loomweight/checkpoint/node";
import { openSession, type Session } from "@loomweight/graph/node";
import { fromData, type Tensor, zeros } from "@loomweight/tensor";

/** A number for each domain of an evaluation set. */
export type Scores = Readonly<Record<string, number>>;

const batch = 16;

/**
 * Mean loss in nats per token of an exported decoder on windows of token ids, by domain: every token but the first of
 * a window is predicted from those before it.
 */
export async function textLoss(file: string, evaluationSet: string): Promise<Scores> {
  const set = await openCheckpoint(evaluationSet);
  const session = await openSession(file);
  const scores: Record<string, number> = {};
  for (const domain of set.tensors.keys()) scores[domain] = await windowsLoss(session, await set.read(domain));
  await session.close();
  await set.close();
  return scores;
}

async function windowsLoss(session: Session, windows: Tensor): Promise<number> {
  const [rows, length] = windows.shape;
  const ids = windows.data as Int32Array;
  const emptyCache = session.inputs
    .filter(({ name }) => name.startsWith("past_key_values."))
    .map(({ name, shape, dtype }) => ({ name, heads: Number(shape[1]), size: Number(shape[3]), dtype }));
  let total = 0;
  for (let row = 0; row < rows; row += batch) {
    const count = Math.min(batch, rows - row);
    const integers = (value: (index: number) => number) =>
      fromData(
        "int64",
        BigInt64Array.from({ length: count * length }, (_, i) => BigInt(value(i))),
        [count, length],
      );
    const { logits } = await session.run(
      {
        input_ids: integers((i) => ids[row * length + i]),
        attention_mask: integers(() => 1),
        position_ids: integers((i) => i % length),
        ...Object.fromEntries(
          emptyCache.map(({ name, heads, size, dtype }) => [name, zeros([count, heads, 0, size], dtype)]),
        ),
      },
      { outputs: ["logits"] },
    );
    const vocabulary = logits.shape[2];
    const values = logits.data as Float32Array;
    for (let at = 0; at < count * length; at++) {
      if (at % length === length - 1) continue;
      total += crossEntropy(values.subarray(at * vocabulary, (at + 1) * vocabulary), ids[row * length + at + 1]);
    }
  }
  return total / (rows * (length - 1));
}

/** −log softmax(logits)[target] */
function crossEntropy(logits: Float32Array, target: number): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (const value of logits) if (value > highest) highest = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - highest);
  return Math.log(sum) + highest - logits[target];
}

/** Share of images whose largest logit is at their label, by domain. */
export async function imageAccuracy(file: string, evaluationSet: string): Promise<Scores> {
  const set = await openCheckpoint(evaluationSet);
  const session = await openSession(file);
  const labels = (await set.read("labels")).data as BigInt64Array;
  const scores: Record<string, number> = {};
  for (const name of set.tensors.keys()) {
    if (!name.startsWith("images.")) continue;
    const { data, shape } = await set.read(name);
    const [count, channels, height, width] = shape;
    const size = channels * height * width;
    let right = 0;
    for (let at = 0; at < count; at += 100) {
      const rows = Math.min(100, count - at);
      const bytes = (data as Uint8Array).subarray(at * size, (at + rows) * size);
      const pixels = Float32Array.from(bytes, (byte) => (byte / 255 - 0.5) / 0.5);
      const { logits } = await session.run({
        pixel_values: fromData("float32", pixels, [rows, channels, height, width]),
      });
      const classes = logits.shape[1];
      for (let row = 0; row < rows; row++) {
        const scoresOfRow = (logits.data as Float32Array).subarray(row * classes, (row + 1) * classes);
        if (scoresOfRow.indexOf(Math.max(...scoresOfRow)) === Number(labels[at + row])) right++;
      }
    }
    scores[name.slice("images.".length)] = right / count;
  }
  await session.close();
  await set.close();
  return scores;
}
