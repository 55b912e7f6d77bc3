import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { planFolders } from "../src/merge-folders.ts";
import { mergeModel } from "../src/node/index.ts";
import { recipeYaml } from "../src/recipe/write-yaml.ts";
import { streamMerge } from "../src/stream-merge.ts";
import { writeSmallModels } from "./small-models.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-stream-"));
const opened: Awaited<ReturnType<typeof openModel>>[] = [];
beforeAll(() => writeSmallModels(folder, 2));
afterAll(async () => {
  await Promise.all(opened.map((model) => model.close()));
  rmSync(folder, { recursive: true, force: true });
});

const recipe = {
  merge_method: "dare_ties",
  base_model: "base",
  models: ["tuned-1", "tuned-2"].map((model) => ({ model, parameters: { weight: 0.5, density: 0.6 } })),
};
const maxShardBytes = 6000;

/** A stream that keeps what it is given, after a pause, and says how it ended. */
function collector() {
  const parts: Uint8Array[] = [];
  let ended = "open";
  const stream = new WritableStream<Uint8Array>({
    async write(bytes) {
      await new Promise((resolve) => setImmediate(resolve));
      parts.push(bytes);
    },
    close() {
      ended = "closed";
    },
    abort() {
      ended = "aborted";
    },
  });
  return { stream, bytes: () => Buffer.concat(parts), ended: () => ended };
}

async function planned(seed: number) {
  const open = async (path: string) => {
    const model = await openModel(join(folder, path));
    opened.push(model);
    return model;
  };
  return planFolders(recipeYaml(recipe), open, { seed, maxShardBytes });
}

test("every weight file comes in order, with the bytes of a merge into a folder", async () => {
  const out = join(folder, "out");
  await mergeModel(recipe, out, { folder, seed: 3, maxShardBytes, workers: 1 });
  const streams = new Map<string, ReturnType<typeof collector>>();
  const sizes = new Map<string, number>();
  const merge = await planned(3);
  let last = 0;
  await streamMerge(
    merge,
    ({ name, size }) => {
      // One after the other: the one before is closed when the next is opened.
      expect([...streams.values()].every((each) => each.ended() === "closed")).toBe(true);
      streams.set(name, collector());
      sizes.set(name, size);
      return (streams.get(name) as ReturnType<typeof collector>).stream;
    },
    {
      seed: 3,
      onProgress: ({ bytesDone, bytesTotal }) => {
        expect(bytesDone).toBeGreaterThanOrEqual(last);
        last = bytesDone;
        expect(bytesDone).toBeLessThanOrEqual(bytesTotal);
      },
    },
  );
  const written = readdirSync(out).filter((name) => name.startsWith("model"));
  expect(written.length).toBeGreaterThan(3);
  expect([...streams.keys()].sort()).toEqual(written.sort());
  for (const name of written) {
    const found = streams.get(name)?.bytes() as Buffer;
    expect([name, found.length]).toEqual([name, sizes.get(name)]);
    expect(found.equals(readFileSync(join(out, name))), name).toBe(true);
  }
});

test("a stream that fails, and an abort, stop the merge and leave no file that looks whole", async () => {
  const merge = await planned(0);
  const broken = new WritableStream<Uint8Array>({
    write() {
      throw new Error("the connection is gone");
    },
  });
  await expect(streamMerge(merge, () => broken)).rejects.toThrow("the connection is gone");
  const abort = new AbortController();
  const kept = collector();
  await expect(
    streamMerge(merge, () => kept.stream, {
      signal: abort.signal,
      onProgress: () => abort.abort(new Error("enough")),
    }),
  ).rejects.toThrow("enough");
  expect(kept.ended()).toBe("aborted");
});
