import { executePlan } from "@loomweight/merge";
import { planFromShelf } from "./models.ts";
import { failureOf, type MergeReport, type MergeTask } from "./protocol.ts";
import { storeWriter } from "./store-port.ts";

const report = (message: MergeReport) => postMessage(message);

/** Merges the tensors that it is given: opens the models for itself and plans as the page has planned. */
async function work({ recipe, shelf, seed, tensors, store }: MergeTask): Promise<void> {
  const merge = await planFromShelf(recipe, shelf, seed);
  const own = new Set(tensors);
  const finished = new Set(merge.plan.tensors.map(({ name }) => name).filter((name) => !own.has(name)));
  const write = storeWriter(store);
  const sink = async (name: string, start: number, bytes: Uint8Array): Promise<void> => {
    const place = merge.layout.tensors.get(name);
    if (place === undefined) throw new Error(`"${name}" has no place in the output`);
    const count = bytes.length;
    await write(place.file, place.position + start, bytes);
    report({ kind: "written", bytes: count });
  };
  await executePlan(merge.plan, merge.method, merge.checkpoints, sink, { seed, finished, concurrency: 1 });
}

addEventListener("message", async ({ data }: MessageEvent<MergeTask>) => {
  try {
    await work(data);
    report({ kind: "done" });
  } catch (error) {
    report({ kind: "failed", failure: failureOf(error) });
  }
});
