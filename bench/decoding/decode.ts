// Decodes greedily with an exported graph in onnxruntime-node: decode.ts FILE THREADS NEW [direct|session] [profile]
// One JSON line: milliseconds of the prompt and of each new token after the first, the tokens themselves.
// "direct": onnxruntime-node in this thread, outputs fed back as they are. "session": as `loomweight run` does it.
import { openSession } from "@loomweight/graph/node";
import * as ort from "onnxruntime-node";
import { continuePrompt } from "../../packages/cli/src/generate/continue-prompt.ts";
import { emptyCache, prompt, step } from "./greedy.ts";

const [file, threads, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const [loop, profile] = [process.argv[5] ?? "direct", process.argv[6]];
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
  for (const round of ["warm", "timed"]) {
    for (const list of [marks, busy, tokens]) list.length = 0;
    mark();
    let [ids, past, cache] = [prompt, 0, emptyCache(session)];
    for (let made = 0; made < (round === "warm" ? 2 : count); made++) {
      const next = await step(session, ids, past, cache);
      mark();
      tokens.push(next.token);
      past += ids.length;
      ids = [next.token];
      cache = next.cache;
    }
  }
  if (profile !== undefined) session.endProfiling();
  await session.release();
}
