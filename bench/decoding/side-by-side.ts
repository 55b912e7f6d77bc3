// Graphs that take turns token by token in one process, for machines that do other work, too: what disturbs one disturbs all.
// side-by-side.ts THREADS ROUNDS NEW NAME=FILE…   Of a prompt and of a token: least wall time, and least and
// median processor time (with one thread nothing spins, and it is the work itself).
import * as ort from "onnxruntime-node";
import { emptyCache, prompt, step } from "./greedy.ts";

const [threads, rounds, count] = process.argv.slice(2, 5).map(Number);
const contenders = await Promise.all(
  process.argv.slice(5).map(async (text) => {
    const at = text.indexOf("=");
    const session = await ort.InferenceSession.create(text.slice(at + 1), { intraOpNumThreads: threads });
    return { name: text.slice(0, at), session, prompts: times(), tokens: times() };
  }),
);

function times(): { wall: number[]; processor: number[] } {
  return { wall: [], processor: [] };
}

function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

// one round more than asked for, to warm up
for (let round = 0; round <= rounds; round++) {
  const states = contenders.map(({ session }) => ({ ids: prompt, past: 0, cache: emptyCache(session) }));
  for (let made = 0; made < count; made++) {
    for (const [at, { session, prompts, tokens }] of contenders.entries()) {
      const { ids, past, cache } = states[at];
      const [began, busy] = [performance.now(), processorTime()];
      const next = await step(session, ids, past, cache);
      const [wall, processor] = [performance.now() - began, processorTime() - busy];
      states[at] = { ids: [next.token], past: past + ids.length, cache: next.cache };
      if (round === 0) continue;
      const kept = made === 0 ? prompts : tokens;
      kept.wall.push(wall);
      kept.processor.push(processor);
    }
  }
  for (const { cache } of states) for (const tensor of Object.values(cache)) tensor.dispose();
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
console.log("| graph | prompt | processor, least | median | token | processor, least | median |");
console.log("| --- | --- | --- | --- | --- | --- | --- |");
for (const { name, prompts, tokens } of contenders) {
  const cells = [prompts, tokens].flatMap(({ wall, processor }) => [
    Math.min(...wall),
    Math.min(...processor),
    median(processor),
  ]);
  console.log(`| ${name} | ${cells.map((each) => each.toFixed(each < 100 ? 2 : 0)).join(" | ")} |`);
}
