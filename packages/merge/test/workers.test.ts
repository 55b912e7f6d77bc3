import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defineMergeMethod } from "../src/define.ts";
import { mergeMethods } from "../src/method-list.ts";
import { linear } from "../src/methods/linear.ts";
import { mergeModel } from "../src/node/index.ts";
import { differingFiles, smallRecipe, writeSmallModels } from "./small-models.ts";

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-workers-"));
  await writeSmallModels(folder, 3);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the bytes are the same for every number of workers", () => {
  for (const method of mergeMethods) {
    test(method.name, async () => {
      const outs: string[] = [];
      for (const workers of [1, 2, 3]) {
        const out = join(folder, `${method.name}-${workers}`);
        const report = await mergeModel(smallRecipe(method), out, { folder, workers, seed: 5, maxShardBytes: 9000 });
        expect(report.workers).toBe(workers);
        outs.push(out);
      }
      expect(differingFiles(outs[0], outs[1])).toEqual([]);
      expect(differingFiles(outs[0], outs[2])).toEqual([]);
    }, 60_000);
  }
});

test("progress counts every tensor and byte once, whatever the number of workers", async () => {
  for (const workers of [1, 2]) {
    const tensors: number[] = [];
    let last = { bytesDone: 0, bytesTotal: -1, tensorsTotal: -1, bytesKept: -1 };
    const report = await mergeModel(smallRecipe(linear), join(folder, `progress-${workers}`), {
      folder,
      workers,
      onProgress: (progress) => {
        expect(progress.bytesDone).toBeGreaterThanOrEqual(last.bytesDone);
        last = progress;
        tensors.push(progress.tensorsDone);
      },
    });
    expect(last).toMatchObject({ bytesDone: report.bytes, bytesTotal: report.bytes, bytesKept: 0 });
    expect(tensors.at(-1)).toBe(report.tensors);
    expect(new Set(tensors).size).toBe(report.tensors + 1);
  }
});

test("a small model is merged on the calling thread unless workers are asked for, never in more than it has tensors", async () => {
  const out = join(folder, "small");
  expect((await mergeModel(smallRecipe(linear), out, { folder })).workers).toBe(1);
  const report = await mergeModel(smallRecipe(linear), out, { folder, workers: 40, force: true });
  expect(report.workers).toBe(report.tensors);
  for (const workers of [0, 1.5, 65, Number.NaN]) {
    await expect(mergeModel(smallRecipe(linear), out, { folder, workers, force: true })).rejects.toMatchObject({
      code: "INVALID_OPTION",
    });
  }
});

describe("a method of your own", () => {
  const own = defineMergeMethod({ ...linear, name: "own-mean" });
  const recipe = { ...smallRecipe(linear), merge_method: "own_mean" };

  test("given as a value runs on the calling thread and says so", async () => {
    const report = await mergeModel(recipe, join(folder, "own-value"), {
      folder,
      workers: 2,
      methods: [own],
      maxShardBytes: 9000,
    });
    expect(report.workers).toBe(1);
    expect(report.warnings.join()).toMatch(/own-mean was given as a value.*\{ module, export \}/);
    expect(differingFiles(join(folder, "own-value"), join(folder, "linear-1"))).toEqual(["README.md"]);
  });

  test("given as a module runs in workers, to the same bytes", async () => {
    const path = join(folder, "own-mean.mjs");
    const { merge, ...rest } = linear;
    // The same weighted mean, written against the lazy tensors' own data.
    writeFileSync(
      path,
      `import { mergeMethods } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
       const linear = mergeMethods.find(({ name }) => name === "linear");
       export const ownMean = { ...linear, name: "own-mean" };
       export const notOne = ${JSON.stringify(rest)};`,
    );
    const module = { module: path, export: "ownMean" };
    const report = await mergeModel(recipe, join(folder, "own-module"), {
      folder,
      workers: 2,
      methods: [module],
      maxShardBytes: 9000,
    });
    expect(report).toMatchObject({ workers: 2, warnings: [] });
    expect(differingFiles(join(folder, "own-module"), join(folder, "own-value"))).toEqual([]);
    for (const wrong of [
      { module: path, export: "missing" },
      { module: path, export: "notOne" },
      { module: join(folder, "nothing.mjs"), export: "x" },
    ]) {
      await expect(mergeModel(recipe, join(folder, "never"), { folder, methods: [wrong] })).rejects.toMatchObject({
        code: "METHOD_NOT_LOADED",
      });
    }
  });
});

describe("a failure in a worker", () => {
  test("comes back as the error it was, with nothing left behind", async () => {
    const broken = join(folder, "broken");
    await writeSmallModels(broken, 2);
    const nan = Buffer.from([0xc0, 0x7f]); // of bfloat16
    const { openSync, writeSync, closeSync, statSync } = await import("node:fs");
    const file = join(broken, "tuned-2", "model.safetensors");
    const handle = openSync(file, "r+");
    writeSync(handle, nan, 0, 2, statSync(file).size - 2);
    closeSync(handle);
    for (const workers of [1, 2]) {
      const out = join(broken, "merged");
      const error = await mergeModel(smallRecipe(linear), out, { folder: broken, workers }).catch((thrown) => thrown);
      expect(error).toMatchObject({ name: "LoomweightError", code: "NON_FINITE" });
      expect(error.details.tensor).toMatch(/^model\./);
      expect(error.message).toContain("tuned-2"); // the model to blame
      expect(readdirSync(broken).sort()).toEqual(["base", "tuned-1", "tuned-2"]);
      const allowed = await mergeModel(smallRecipe(linear), out, { folder: broken, workers, allowNonFinite: true });
      expect(allowed.workers).toBe(workers);
      rmSync(out, { recursive: true });
    }
  });

  test("a source that shrinks while it is read is told by name", async () => {
    const shrinking = join(folder, "shrinking");
    for (const workers of [1, 2]) {
      await writeSmallModels(shrinking, 2, { layers: 40 });
      const file = join(shrinking, "tuned-1", "model.safetensors");
      const error = await mergeModel(smallRecipe(linear), join(shrinking, "merged"), {
        folder: shrinking,
        workers,
        onProgress: ({ tensorsDone }) => {
          if (tensorsDone === 2) truncateSync(file, 30_000);
        },
      }).catch((thrown) => thrown);
      expect(error).toMatchObject({ code: "FILE_CHANGED" });
      expect(error.message).toContain(file);
      expect(readdirSync(shrinking).sort()).toEqual(["base", "tuned-1", "tuned-2"]);
    }
  });
});
