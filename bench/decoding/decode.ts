// Decodes greedily with an exported graph in onnxruntime-node: decode.ts FILE THREADS NEW [direct|session] [profile]
// One JSON line: milliseconds of the prompt and of each new token after the first, the tokens themselves.
// "direct": onnxruntime-node in this thread, outputs fed back as they are. "session": as `loomweight run` does it.
import { openSession } from "@loomweight/graph/node";
import * as ort from "onnxruntime-node";
import { continuePrompt } from "../../packages/cli/src/generate/continue-prompt.ts";

const [file, threads, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const [loop, profile] = [process.argv[5] ?? "direct", process.argv[6]];
const prompt = Array.from({ length: 128 }, (_, i) => 5 + ((i * 7919) % 40000));
const marks: number[] = [];
/** Processor time of all threads at each mark: what a busy machine does not change. */
const busy: number[] = [];
const tokens: number[] = [];

if (loop === "session") await withSession();
else await direct();

const steps = marks.slice(1).map((mark, i) => mark - marks[i]);
const sorted = steps.slice(1).sort((a, b) => a - b);
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const processor = busy.slice(1).map((each, i) => each - busy[i]);
console.log(
  JSON.stringify({
    prompt: steps[0],
    token: median(steps.slice(1)),
    least: sorted[0],
    tokens,
    processor: { prompt: processor[0], token: median(processor.slice(1)) },
    peakMegabytes: process.resourceUsage().maxRSS / 1024,
  }),
);

function mark(): void {
  marks.push(performance.now());
  const { user, system } = process.cpuUsage();
  busy.push((user + system) / 1000);
}

async function withSession(): Promise<void> {
  const session = await openSession(file, { threads });
  for (const round of ["warm", "timed"]) {
    for (const list of [marks, busy, tokens]) list.length = 0;
    mark();
    const options = { maxNewTokens: round === "warm" ? 2 : count, endTokens: new Set<number>() };
    for await (const token of continuePrompt(session, prompt, options)) {
      mark();
      tokens.push(token);
    }
  }
  await session.close();
}

async function direct(): Promise<void> {
  const session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: threads,
    ...(profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: profile }),
  });
  const caches = session.inputMetadata.filter(({ name }) => name.startsWith("past_key_values."));
  for (const round of ["warm", "timed"]) {
    for (const list of [marks, busy, tokens]) list.length = 0;
    mark();
    let cache: Record<string, ort.Tensor> = Object.fromEntries(
      caches.map((input) => {
        const [, heads, , size] = (input as { shape: readonly (number | string)[] }).shape;
        // the genai builder's graphs leave the head size open; 64 in both shapes
        return [
          input.name,
          new ort.Tensor("float32", new Float32Array(0), [1, Number(heads), 0, typeof size === "number" ? size : 64]),
        ];
      }),
    );
    let ids = prompt;
    let past = 0;
    for (let made = 0; made < (round === "warm" ? 2 : count); made++) {
      const total = past + ids.length;
      const int64 = (length: number, value: (i: number) => number) =>
        new ort.Tensor(
          "int64",
          BigInt64Array.from({ length }, (_, i) => BigInt(value(i))),
          [1, length],
        );
      const feeds: Record<string, ort.Tensor> = {
        input_ids: int64(ids.length, (i) => ids[i]),
        attention_mask: int64(total, () => 1),
        position_ids: int64(ids.length, (i) => past + i),
        num_logits_to_keep: new ort.Tensor("int64", [1n], []),
      };
      const wanted = Object.entries(feeds).filter(([name]) => session.inputNames.includes(name));
      const outputs = await session.run({ ...Object.fromEntries(wanted), ...cache });
      const logits = outputs.logits.data as Float32Array;
      const vocabulary = outputs.logits.dims[outputs.logits.dims.length - 1];
      let [best, height] = [0, Number.NEGATIVE_INFINITY];
      for (let id = 0; id < vocabulary; id++) {
        const value = logits[logits.length - vocabulary + id];
        if (value > height) [best, height] = [id, value];
      }
      mark();
      tokens.push(best);
      for (const old of Object.values(cache)) old.dispose();
      cache = Object.fromEntries(
        caches.map(({ name }) => [name, outputs[name.replace("past_key_values", "present")] as ort.Tensor]),
      );
      ids = [best];
      past = total;
    }
  }
  if (profile !== undefined) session.endProfiling();
  await session.release();
}
