import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { readFixtureTensors } from "@loomweight/fixtures";
import type { OnnxModel } from "@loomweight/graph";
import type { Session } from "@loomweight/graph/node";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect } from "vitest";
import { type BuildModelOptions, buildModel, type Task } from "../src/index.ts";
import { columns, excess, int64, rowsOf } from "./run.ts";

// The folder's README: atol = rtol = 1e-4 on logits, hidden states and caches, at real positions only.
const tolerance = { atol: 1e-4, rtol: 1e-4 };

/** What a folder's expected.json says of its recording. */
export interface Expected {
  readonly class: string;
  readonly kind: "decoder" | "encoder" | "vision" | "dual" | "seq2seq";
  readonly prefill_tokens?: number;
  readonly greedy?: readonly (readonly number[])[];
}

/** How a model is built and loaded. */
export interface Way {
  readonly build: BuildModelOptions;
  open(model: OnnxModel): Promise<Session>;
}

/** Compares all outputs of the architecture in `folder` with the recorded ones. */
export function replayArchitecture(folder: string, expected: Expected, way: Way): Promise<void> {
  const replay = {
    decoder: replayDecoder,
    encoder: replayEncoder,
    vision: replayVision,
    dual: replayDual,
    seq2seq: replaySeq2Seq,
  }[expected.kind];
  return replay(folder, expected, way);
}

async function open(folder: string, way: Way, task?: Task): Promise<Session> {
  const model = await openModel(folder);
  const built = await buildModel(model, task, way.build);
  const session = await way.open(built.model);
  await model.close();
  return session;
}

async function replayDecoder(folder: string, expected: Expected, way: Way): Promise<void> {
  const tensors = readFixtureTensors(join(folder, "expected.safetensors"));
  const get = (name: string) => tensors.get(name) as Tensor;
  const session = await open(folder, way);
  const [ids, mask, positions] = ["in.input_ids", "in.attention_mask", "in.position_ids"].map(get);
  const [rows, width] = ids.shape;
  const isReal = (row: number, column: number) => Number(mask.data[row * width + column]) === 1;
  const empty = emptyCache(session, rows);
  const close = (actual: Tensor, name: string, real?: (row: number, column: number) => boolean) =>
    expect(excess(actual, get(name), { ...tolerance, real }), name).toBeLessThanOrEqual(0);

  const whole = await session.run({ input_ids: ids, attention_mask: mask, position_ids: positions, ...empty });
  close(whole.logits, "out.logits", isReal);

  const prefill = expected.prefill_tokens ?? 0;
  const first = await session.run({
    input_ids: columns(ids, 0, prefill),
    attention_mask: columns(mask, 0, prefill),
    position_ids: columns(positions, 0, prefill),
    ...empty,
  });
  close(first.logits, "out.prefill.logits", isReal);
  let layers = 0;
  for (const name of tensors.keys()) {
    const match = /^out\.prefill\.past\.(\d+)\.(key|value)$/.exec(name);
    if (match === null) continue;
    layers++;
    // the graph's cache is never trimmed; where the reference trims, it recorded the untrimmed cache too
    const untrimmed = name.replace("prefill.past.", "prefill.past_untrimmed.");
    const recorded = get(tensors.has(untrimmed) ? untrimmed : name);
    const actual = first[`present.${match[1]}.${match[2]}`];
    // [batch, heads, tokens, size]: compare head by head, real tokens only
    const [batch, heads, tokens, size] = recorded.shape;
    expect(actual.shape).toEqual(recorded.shape);
    const flat = (tensor: Tensor) => fromData("float32", tensor.data as Float32Array, [batch * heads, tokens, size]);
    const real = (row: number, column: number) => isReal(Math.floor(row / heads), column);
    expect(excess(flat(actual), flat(recorded), { ...tolerance, real }), name).toBeLessThanOrEqual(0);
  }
  expect(layers).toBe(Object.keys(empty).length);

  let outputs = first;
  for (let step = 0; prefill + step < width; step++) {
    outputs = await session.run({
      input_ids: columns(ids, prefill + step, prefill + step + 1),
      attention_mask: columns(mask, 0, prefill + step + 1),
      position_ids: columns(positions, prefill + step, prefill + step + 1),
      ...cacheFrom(outputs),
    });
    close(outputs.logits, `out.step${step}.logits`);
  }

  expect(await greedy(session, ids, mask, 16)).toEqual(expected.greedy);
  await session.close();
}

/** What `generate` does without sampling: one prefill, then one token at a time. */
async function greedy(session: Session, ids: Tensor, mask: Tensor, count: number): Promise<number[][]> {
  const maskRows = rowsOf(mask);
  const positionOf = (row: readonly number[]) => row.reduce((sum, real) => sum + real, 0) - 1;
  let feeds: Record<string, Tensor> = {
    input_ids: ids,
    attention_mask: mask,
    position_ids: int64(
      maskRows.map((row) => row.map((real, i) => (real === 0 ? 0 : positionOf(row.slice(0, i + 1))))),
    ),
    ...emptyCache(session, ids.shape[0]),
  };
  const tokens: number[][] = maskRows.map(() => []);
  for (let step = 0; step < count; step++) {
    const outputs = await session.run(feeds);
    const [rows, width, vocabulary] = outputs.logits.shape;
    for (let row = 0; row < rows; row++) {
      const start = (row * width + width - 1) * vocabulary;
      const logits = (outputs.logits.data as Float32Array).subarray(start, start + vocabulary);
      tokens[row].push(logits.indexOf(logits.reduce((best, value) => Math.max(best, value))));
      maskRows[row].push(1);
    }
    feeds = {
      input_ids: int64(tokens.map((row) => row.slice(-1))),
      attention_mask: int64(maskRows),
      position_ids: int64(maskRows.map((row) => [positionOf(row)])),
      ...cacheFrom(outputs),
    };
  }
  return tokens;
}

/** A cache of no tokens for `rows` rows. */
export function emptyCache(session: Session, batch: number): Record<string, Tensor> {
  const caches: Record<string, Tensor> = {};
  for (const { name, shape } of session.inputs) {
    if (!name.startsWith("past_key_values.")) continue;
    expect([typeof shape[1], typeof shape[3]], `${name} has numeric heads and sizes`).toEqual(["number", "number"]);
    caches[name] = fromData("float32", new Float32Array(0), [batch, Number(shape[1]), 0, Number(shape[3])]);
  }
  return caches;
}

function cacheFrom(outputs: Record<string, Tensor>): Record<string, Tensor> {
  const caches = Object.entries(outputs).filter(([name]) => name.startsWith("present."));
  return Object.fromEntries(caches.map(([name, tensor]) => [name.replace("present.", "past_key_values."), tensor]));
}

async function replayEncoder(folder: string, _: Expected, way: Way): Promise<void> {
  const tensors = readFixtureTensors(join(folder, "expected.safetensors"));
  const mask = tensors.get("in.attention_mask") as Tensor;
  const isReal = (row: number, column: number) => Number(mask.data[row * mask.shape[1] + column]) === 1;
  await replayWhole(folder, way, tensors, isReal);
}

/** Both towers in one graph for pairs of text and image, then each tower as a file of its own. */
async function replayDual(folder: string, _: Expected, way: Way): Promise<void> {
  const tensors = readFixtureTensors(join(folder, "expected.safetensors"));
  const mask = tensors.get("in.attention_mask");
  const compared = new Set<string>();
  const compare = (outputs: Record<string, Tensor>, nameOf: (output: string) => string) => {
    for (const [output, actual] of Object.entries(outputs)) {
      const expected = tensors.get(`out.${nameOf(output)}`) as Tensor;
      expect(expected, `${nameOf(output)} is recorded`).toBeDefined();
      compared.add(`out.${nameOf(output)}`);
      const real =
        mask !== undefined && nameOf(output) === "text_last_hidden_state"
          ? (row: number, column: number) => Number(mask.data[row * mask.shape[1] + column]) === 1
          : undefined;
      expect(excess(actual, expected, { ...tolerance, real }), output).toBeLessThanOrEqual(0);
    }
  };
  const run = async (session: Session) =>
    session.run(Object.fromEntries(session.inputs.map(({ name }) => [name, tensors.get(`in.${name}`) as Tensor])));

  const pairs = await open(folder, way);
  compare(await run(pairs), (output) => output);
  await pairs.close();

  const model = await openModel(folder);
  const { models } = await buildModel(model, "feature-extraction", way.build);
  expect([...models.keys()]).toEqual(["text_model", "vision_model"]);
  for (const [name, graph] of models) {
    const session = await way.open(graph);
    const kind = name.replace("_model", "");
    // the recorded pooler outputs of CLIP are projected, as the outputs of the towers with projection are
    compare(await run(session), (output) => `${kind}_${output.replace(/^(text|image)_embeds$/, "pooler_output")}`);
    await session.close();
  }
  await model.close();
  expect([...compared].sort()).toEqual([...tensors.keys()].filter((name) => name.startsWith("out.")).sort());
}

/** The encoder's states, then the decoder: whole, cached and greedy, as transformers.js keeps the two caches. */
async function replaySeq2Seq(folder: string, expected: Expected, way: Way): Promise<void> {
  const tensors = readFixtureTensors(join(folder, "expected.safetensors"));
  const get = (name: string) => tensors.get(name) as Tensor;
  const model = await openModel(folder);
  const { models } = await buildModel(model, undefined, way.build);
  expect([...models.keys()]).toEqual(["encoder_model", "decoder_model_merged"]);
  const [encoder, decoder] = await Promise.all([...models.values()].map(way.open));
  await model.close();
  const mask = tensors.get("in.attention_mask");
  const isReal = (row: number, column: number) =>
    mask === undefined || Number(mask.data[row * mask.shape[1] + column]) === 1;
  const close = (actual: Tensor, name: string, real?: (row: number, column: number) => boolean) =>
    expect(excess(actual, get(name), { ...tolerance, real }), name).toBeLessThanOrEqual(0);

  const feeds = Object.fromEntries(encoder.inputs.map(({ name }) => [name, get(`in.${name}`)]));
  const { last_hidden_state: states } = await encoder.run(feeds);
  close(states, "out.encoder_last_hidden_state", isReal);

  const ids = get("in.decoder_input_ids");
  const [rows, width] = ids.shape;
  const source = { encoder_hidden_states: states, ...(mask === undefined ? {} : { encoder_attention_mask: mask }) };
  const run = (input_ids: Tensor, caches: Record<string, Tensor>) => decoder.run({ input_ids, ...source, ...caches });
  const empty = emptyCache(decoder, rows);
  close((await run(ids, empty)).logits, "out.logits");

  const prefill = expected.prefill_tokens ?? 0;
  let outputs = await run(columns(ids, 0, prefill), empty);
  close(outputs.logits, "out.prefill.logits");
  const recorded = [...tensors.keys()].filter((name) => /^out\.prefill\.(past|cross)\./.test(name));
  expect(recorded.length).toBe(Object.keys(empty).length);
  for (const name of recorded) {
    const [, , kind, layer, what] = name.split(".");
    const actual = outputs[`present.${layer}.${kind === "past" ? "decoder" : "encoder"}.${what}`];
    const [batch, heads, tokens, size] = get(name).shape;
    expect(actual.shape).toEqual(get(name).shape);
    const flat = (tensor: Tensor) => fromData("float32", tensor.data as Float32Array, [batch * heads, tokens, size]);
    const real = kind === "past" ? undefined : (row: number, column: number) => isReal(Math.floor(row / heads), column);
    expect(excess(flat(actual), flat(get(name)), { ...tolerance, real }), name).toBeLessThanOrEqual(0);
  }
  let caches = seq2seqCache(outputs, {});
  for (let step = 0; prefill + step < width; step++) {
    outputs = await run(columns(ids, prefill + step, prefill + step + 1), caches);
    close(outputs.logits, `out.step${step}.logits`);
    caches = seq2seqCache(outputs, caches);
  }

  const tokens: number[][] = Array.from({ length: rows }, () => []);
  let next = columns(ids, 0, 1);
  caches = empty;
  for (let step = 0; step < 16; step++) {
    outputs = await run(next, caches);
    const vocabulary = outputs.logits.shape[2];
    for (const [row, made] of tokens.entries()) {
      const logits = (outputs.logits.data as Float32Array).subarray(row * vocabulary, (row + 1) * vocabulary);
      made.push(logits.indexOf(logits.reduce((best, value) => Math.max(best, value))));
    }
    next = int64(tokens.map((row) => row.slice(-1)));
    caches = seq2seqCache(outputs, step === 0 ? {} : caches);
  }
  expect(tokens).toEqual(expected.greedy);
  await Promise.all([encoder.close(), decoder.close()]);
}

/** The next step's cache: the encoder's part is that of the first step. */
function seq2seqCache(outputs: Record<string, Tensor>, before: Record<string, Tensor>): Record<string, Tensor> {
  const named = Object.entries(outputs).filter(([name]) => name.startsWith("present."));
  return Object.fromEntries(
    named.map(([name, tensor]) => {
      const past = name.replace("present.", "past_key_values.");
      return [past, name.includes(".encoder.") ? (before[past] ?? tensor) : tensor];
    }),
  );
}

async function replayVision(folder: string, _: Expected, way: Way): Promise<void> {
  await replayWhole(folder, way, readFixtureTensors(join(folder, "expected.safetensors")), () => true);
}

/** The folder's own task for its logits, then feature extraction for hidden states and pooler. */
async function replayWhole(
  folder: string,
  way: Way,
  tensors: ReadonlyMap<string, Tensor>,
  isReal: (row: number, column: number) => boolean,
): Promise<void> {
  const compared = new Set<string>();
  const recorded = [...tensors.keys()].filter((name) => name.startsWith("out."));
  for (const task of [undefined, "feature-extraction"] as const) {
    const session = await open(folder, way, task);
    const feeds = Object.fromEntries(session.inputs.map(({ name }) => [name, tensors.get(`in.${name}`) as Tensor]));
    const outputs = await session.run(feeds);
    for (const name of recorded) {
      const actual = outputs[name.slice("out.".length)];
      const expected = tensors.get(name) as Tensor;
      if (actual === undefined) continue;
      compared.add(name);
      const real = expected.shape.length === 3 ? isReal : undefined;
      expect(excess(actual, expected, { ...tolerance, real }), name).toBeLessThanOrEqual(0);
    }
    await session.close();
  }
  expect([...compared].sort()).toEqual(recorded.sort());
}
