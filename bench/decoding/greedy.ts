import * as ort from "onnxruntime-node";

export type Cache = Record<string, ort.Tensor>;

/** The 128 tokens that every contender reads first. */
export const prompt: readonly number[] = Array.from({ length: 128 }, (_, i) => 5 + ((i * 7919) % 40000));

const cachesOf = (session: ort.InferenceSession) =>
  session.inputMetadata.filter(({ name }) => name.startsWith("past_key_values."));

/** A cache of no tokens; the genai builder's graphs leave the head size open: 64 in both shapes. */
export function emptyCache(session: ort.InferenceSession): Cache {
  return Object.fromEntries(
    cachesOf(session).map((input) => {
      const [, heads, , size] = (input as { shape: readonly (number | string)[] }).shape;
      const dims = [1, Number(heads), 0, typeof size === "number" ? size : 64];
      return [input.name, new ort.Tensor("float32", new Float32Array(0), dims)];
    }),
  );
}

/** One run over `ids` after `past` tokens: the token that follows, and the cache in place of the old one, which is freed. */
export async function step(
  session: ort.InferenceSession,
  ids: readonly number[],
  past: number,
  cache: Cache,
): Promise<{ token: number; cache: Cache }> {
  const int64 = (length: number, value: (i: number) => number) =>
    new ort.Tensor(
      "int64",
      BigInt64Array.from({ length }, (_, i) => BigInt(value(i))),
      [1, length],
    );
  const feeds: Record<string, ort.Tensor> = {
    input_ids: int64(ids.length, (i) => ids[i]),
    attention_mask: int64(past + ids.length, () => 1),
    position_ids: int64(ids.length, (i) => past + i),
    num_logits_to_keep: new ort.Tensor("int64", [1n], []),
  };
  const wanted = Object.entries(feeds).filter(([name]) => session.inputNames.includes(name));
  const outputs = await session.run({ ...Object.fromEntries(wanted), ...cache });
  const logits = outputs.logits.data as Float32Array;
  const vocabulary = outputs.logits.dims[outputs.logits.dims.length - 1];
  let [token, height] = [0, Number.NEGATIVE_INFINITY];
  for (let id = 0; id < vocabulary; id++) {
    const value = logits[logits.length - vocabulary + id];
    if (value > height) [token, height] = [id, value];
  }
  for (const old of Object.values(cache)) old.dispose();
  const presents = cachesOf(session).map(({ name }): [string, ort.Tensor] => [
    name,
    outputs[name.replace("past_key_values", "present")] as ort.Tensor,
  ]);
  return { token, cache: Object.fromEntries(presents) };
}
