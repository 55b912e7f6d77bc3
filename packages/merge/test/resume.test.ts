import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mergeMethods } from "../src/method-list.ts";
import { linear } from "../src/methods/linear.ts";
import { type MergeModelOptions, mergeModel } from "../src/node/index.ts";
import { differingFiles, smallRecipe, writeSmallModels } from "./small-models.ts";

let folder: string;
let reference: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-resume-"));
  await writeSmallModels(folder, 2, { layers: 30, width: 64 });
  reference = join(folder, "reference");
  await mergeModel(smallRecipe(linear), reference, { folder, workers: 1 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a merge that is interrupted when `tensors` of it are done; gives what was thrown and what was kept. */
async function interruptedMerge(out: string, tensors: number, options: MergeModelOptions = {}) {
  const interrupt = new AbortController();
  let kept = 0;
  const error = await mergeModel(smallRecipe(linear), out, {
    folder,
    workers: 1,
    ...options,
    signal: interrupt.signal,
    onProgress: ({ tensorsDone }) => {
      if (tensorsDone === tensors) interrupt.abort(new Error("stop"));
    },
    onSuspend: ({ tensorsDone }) => {
      kept = tensorsDone;
    },
  }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { error, kept };
}

const siblings = (place: string, name: string) => readdirSync(place).filter((each) => each.includes(name));

describe("an interrupted merge", () => {
  for (const workers of [1, 2]) {
    test(`is continued tensor by tensor, to the same bytes (${workers} workers, then another number)`, async () => {
      const out = join(folder, `interrupted-${workers}`);
      const { error, kept } = await interruptedMerge(out, 20, { workers });
      expect(error).toMatchObject({ message: "stop" });
      expect(kept).toBeGreaterThanOrEqual(20);
      await expect(mergeModel(smallRecipe(linear), out, { folder })).rejects.toMatchObject({
        code: "OUTPUT_UNFINISHED",
      });
      const begun: number[] = [];
      const report = await mergeModel(smallRecipe(linear), out, {
        folder,
        workers: 3 - workers,
        resume: true,
        onProgress: ({ tensorsDone, bytesKept }) => {
          begun.push(tensorsDone);
          expect(bytesKept).toBeGreaterThan(0);
        },
      });
      expect(report.tensorsKept).toBe(kept);
      expect(begun[0]).toBeGreaterThanOrEqual(kept);
      expect(differingFiles(out, reference)).toEqual([]);
      expect(siblings(folder, `interrupted-${workers}`)).toEqual([`interrupted-${workers}`]);
    }, 60_000);
  }

  test("is not continued by a merge that would write something else: it is told what differs", async () => {
    const out = join(folder, "different");
    await interruptedMerge(out, 5);
    const resume = (recipe: object, options: MergeModelOptions = {}) =>
      mergeModel(recipe, out, { folder, workers: 1, resume: true, ...options }).catch((error: Error) => error);
    const differs = (names: string) =>
      expect.objectContaining({ code: "RESUME_MISMATCH", message: expect.stringContaining(`: ${names} differ`) });
    expect(await resume(smallRecipe(linear), { seed: 1 })).toEqual(differs("seed"));
    expect(await resume(smallRecipe(linear), { maxShardBytes: 5000 })).toEqual(differs("weight files"));
    expect(await resume(smallRecipe(linear), { tool: "Loomweight 9" })).toEqual(differs("tool"));
    expect(await resume({ ...smallRecipe(linear), dtype: "float32" })).toEqual(differs("recipe, plan, weight files"));
    const source = join(folder, "tuned-2", "model.safetensors");
    const { atime, mtime } = statSync(source);
    utimesSync(source, atime, new Date(mtime.getTime() - 5000));
    expect(await resume(smallRecipe(linear))).toEqual(differs(source));
    utimesSync(source, atime, mtime);
    // Times of files are finer than utimes sets them: begin anew and finish.
    const report = await mergeModel(smallRecipe(linear), out, { folder, workers: 1, force: true });
    expect(report.tensorsKept).toBe(0);
    expect(differingFiles(out, reference)).toEqual([]);
  }, 60_000);

  test("is discarded where nothing is finished, and resume with nothing to continue begins anew", async () => {
    const out = join(folder, "early");
    const early = new AbortController();
    early.abort();
    await expect(
      mergeModel(smallRecipe(linear), out, { folder, workers: 1, signal: early.signal }),
    ).rejects.toMatchObject({ name: "AbortError" });
    expect(siblings(folder, "early")).toEqual([]);
    const report = await mergeModel(smallRecipe(linear), out, { folder, workers: 1, resume: true });
    expect(report.tensorsKept).toBe(0);
    await expect(mergeModel(smallRecipe(linear), out, { folder, resume: true })).rejects.toMatchObject({
      code: "OUTPUT_EXISTS",
    });
  });
});

test("of two runs at one output at the same time one writes it, or none", async () => {
  const out = join(folder, "contested");
  const run = () => mergeModel(smallRecipe(linear), out, { folder, workers: 1 });
  const outcomes = await Promise.allSettled([run(), run()]);
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  expect(failures.length).toBeGreaterThanOrEqual(1);
  for (const { reason } of failures) expect(["OUTPUT_IN_USE", "OUTPUT_EXISTS"]).toContain(reason.code);
  if (failures.length === 2) await run();
  expect(differingFiles(out, reference)).toEqual([]);
  let second: unknown;
  const slow = mergeModel(smallRecipe(linear), join(folder, "slow"), {
    folder,
    workers: 1,
    onProgress: ({ tensorsDone }) => {
      if (tensorsDone !== 3 || second !== undefined) return;
      second = mergeModel(smallRecipe(linear), join(folder, "slow"), { folder, resume: true }).catch((error) => error);
    },
  });
  await slow;
  expect(await second).toMatchObject({ code: expect.stringMatching(/OUTPUT_IN_USE|OUTPUT_EXISTS/) });
  expect(differingFiles(join(folder, "slow"), reference)).toEqual([]);
});

/** A run of the built package in a process of its own, to be killed. Its first line comes when it begins to merge. */
function startMerge(recipe: object, out: string, options: object): ChildProcess {
  const node = new URL("../dist/node/index.js", import.meta.url).href;
  const script = `
    import { mergeModel } from ${JSON.stringify(node)};
    let begun = false;
    const onProgress = () => { if (!begun) console.log("merging"); begun = true; };
    const { recipe, out, options } = ${JSON.stringify({ recipe, out, options })};
    console.log("ready");
    await mergeModel(recipe, out, { ...options, onProgress });
    console.log("done");`;
  return spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
}

test("a run in another process is refused while one writes, and told whose it is", async () => {
  const place = join(folder, "two-processes");
  await writeSmallModels(place, 2, { layers: 60, width: 128, vocabulary: 2000 });
  const ties = mergeMethods.find(({ name }) => name === "ties") ?? linear;
  const out = join(place, "out");
  const child = startMerge(smallRecipe(ties), out, { folder: place, workers: 1 });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let said = "";
  const begun = new Promise<void>((resolve) => {
    child.stdout?.on("data", (part) => {
      said += part;
      if (said.includes("merging")) resolve();
    });
  });
  await Promise.race([begun, ended]);
  // Stopped, so that it holds its output for as long as this looks at it.
  child.kill("SIGSTOP");
  try {
    for (const options of [{}, { resume: true }, { force: true }]) {
      const error = await mergeModel(smallRecipe(ties), out, { folder: place, workers: 1, ...options }).catch(
        (reason) => reason,
      );
      expect(error).toMatchObject({ code: "OUTPUT_IN_USE" });
      expect(error.message).toContain(String(child.pid));
    }
  } finally {
    child.kill("SIGCONT");
  }
  await ended;
  expect(child.exitCode).toBe(0);
  const whole = join(place, "whole");
  await mergeModel(smallRecipe(ties), whole, { folder: place, workers: 1 });
  expect(differingFiles(out, whole)).toEqual([]);
}, 120_000);

describe("a merge that is killed", () => {
  /** Seeded, so that a failing run can be looked at again. */
  const random = (() => {
    let state = 20_26;
    return () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
  })();

  test("at 20 random moments is continued to the same bytes", async () => {
    const place = join(folder, "killed");
    await writeSmallModels(place, 2, { layers: 60, width: 128, vocabulary: 2000 });
    const ties = mergeMethods.find(({ name }) => name === "ties") ?? linear;
    const recipe = smallRecipe(ties);
    const whole = join(place, "whole");
    const began = performance.now();
    await mergeModel(recipe, whole, { folder: place, workers: 1 });
    let duration = performance.now() - began;
    const keptAtResume: number[] = [];
    let interruptedRuns = 0;
    for (let round = 0; round < 20; round++) {
      const out = join(place, `out-${round}`);
      const workers = 1 + (round % 2);
      // A third of the runs are killed while they continue one that was killed.
      for (let kill = 0; kill < (round % 3 === 2 ? 2 : 1); kill++) {
        const child = startMerge(recipe, out, { folder: place, workers, resume: true });
        const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
        const moment = random();
        const began = performance.now();
        await Promise.race([new Promise((resolve) => child.stdout?.once("data", resolve)), ended]);
        const timer = setTimeout(() => child.kill("SIGKILL"), moment * duration);
        await ended;
        clearTimeout(timer);
        if (child.signalCode === null) {
          expect(child.exitCode).toBe(child.exitCode === 1 && kill > 0 ? 1 : 0); // it was done before, or already
          duration = Math.max(20, Math.min(duration, performance.now() - began));
        } else interruptedRuns++;
      }
      const finished = siblings(place, `out-${round}`).includes(`out-${round}`);
      if (!finished) {
        const report = await mergeModel(recipe, out, { folder: place, workers: 1, resume: true });
        keptAtResume.push(report.tensorsKept);
      }
      expect(differingFiles(out, whole), `round ${round}`).toEqual([]);
      // A run that was killed right after its end leaves its journal, which the next one to this output takes away.
      const leftover = siblings(place, `.out-${round}.`).filter((name) => name.includes(`out-${round}.`));
      if (!finished) expect(leftover).toEqual([]);
      for (const name of leftover) expect(readdirSync(join(place, name))).not.toContain("output");
      rmSync(out, { recursive: true });
    }
    // The moments must have met runs at work, some of them with tensors finished.
    expect(interruptedRuns).toBeGreaterThanOrEqual(10);
    expect(keptAtResume.some((count) => count > 0)).toBe(true);
  }, 600_000);
});

test("a disk that fills up keeps what is finished; with room again the merge is continued", async (context) => {
  const mountPoint = join(folder, "small-disk");
  mkdirSync(mountPoint);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "none", mountPoint], { stdio: "ignore" });
  } catch {
    return context.skip("mounting needs rights that this run does not have");
  }
  try {
    for (const workers of [1, 2]) {
      const out = join(mountPoint, "merged");
      const filler = join(mountPoint, "filler");
      const run = mergeModel(smallRecipe(linear), out, {
        folder,
        workers,
        onProgress: ({ tensorsDone }) => {
          if (tensorsDone !== 12) return;
          for (let size = 2 ** 20; size >= 4096; size /= 2) {
            for (;;) {
              try {
                writeFileSync(filler, Buffer.alloc(size), { flag: "a" });
              } catch {
                break;
              }
            }
          }
        },
      });
      const error = await run.catch((thrown) => thrown);
      expect(error).toMatchObject({ name: "LoomweightError", code: "DISK_FULL" });
      expect(error.message).toMatch(/\d+ of 93 tensors are finished and kept.*--resume/);
      rmSync(filler);
      const report = await mergeModel(smallRecipe(linear), out, { folder, workers, resume: true });
      expect(report.tensorsKept).toBeGreaterThan(0);
      expect(differingFiles(out, reference)).toEqual([]);
      rmSync(out, { recursive: true });
      expect(readdirSync(mountPoint)).toEqual([]);
    }
  } finally {
    execFileSync("umount", [mountPoint]);
  }
}, 60_000);
