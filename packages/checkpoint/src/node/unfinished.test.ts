import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { planSafetensors } from "../plan.ts";
import { createOutputFolder, type FileOutputFolder, withOutputFolder } from "./output-folder.ts";

let root: string;
let out: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "loomweight-unfinished-"));
  out = join(root, "merged");
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const plan = planSafetensors(
  [0, 1, 2, 3].map((i) => ({ name: `t${i}`, dtype: "uint8" as const, shape: [1000] })),
  { maxShardBytes: 2000 },
);
const bytesOf = (name: string) => new Uint8Array(1000).fill(Number(name[1]) + 1);
const facts = { recipe: "abc", seed: "0" };

/** Writes the tensors that are not there yet, at most `count` of them; gives their names. */
async function writeTensors(folder: FileOutputFolder, count = 4): Promise<string[]> {
  const writer = await folder.createWriter(plan);
  const names = [...plan.tensors.keys()].filter((name) => !writer.finished.has(name)).slice(0, count);
  for (const name of names) {
    await writer.write(name, 0, bytesOf(name));
    writer.complete(name);
  }
  if (names.length + writer.finished.size === 4) await writer.finish();
  return names;
}

/** A run that finishes two tensors and writes half of a third, then is interrupted. */
async function interrupted(): Promise<void> {
  const folder = await createOutputFolder(out, { journal: { facts } });
  await folder.writeFile("stale.txt", "from the first run");
  const writer = await folder.createWriter(plan);
  for (const name of ["t0", "t2"]) {
    await writer.write(name, 0, bytesOf(name));
    writer.complete(name);
  }
  await writer.write("t1", 0, new Uint8Array(500).fill(99));
  expect(await folder.suspend()).toBe(2);
}

async function resumeAndCompare(expected: string[]): Promise<void> {
  const folder = await createOutputFolder(out, { journal: { facts, resume: true } });
  expect(await writeTensors(folder)).toEqual(expected);
  await folder.writeFile("config.json", "{}");
  await folder.commit();
  const reference = join(root, "reference");
  await withOutputFolder(reference, {}, async (whole) => {
    await writeTensors(whole);
    await whole.writeFile("config.json", "{}");
  });
  expect(readdirSync(root).sort()).toEqual(["merged", "reference"]);
  expect(readdirSync(out)).toEqual(readdirSync(reference));
  for (const name of readdirSync(out)) {
    expect(readFileSync(join(out, name)).equals(readFileSync(join(reference, name))), name).toBe(true);
  }
}

const leftover = () => {
  const [name, ...others] = readdirSync(root);
  expect(others).toEqual([]);
  return join(root, name);
};

test("an interrupted output is continued at the first tensor that was not finished, to the same bytes", async () => {
  await interrupted();
  expect(existsSync(out)).toBe(false);
  await resumeAndCompare(["t1", "t3"]);
});

test("without being asked to continue it, an interrupted output is reported, with what can be done", async () => {
  await interrupted();
  for (const journal of [undefined, { facts }]) {
    const error = await createOutputFolder(out, { journal }).catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: "OUTPUT_UNFINISHED" });
    expect((error as Error).message).toMatch(/2 finished tensors.*--resume.*--force/);
  }
  await resumeAndCompare(["t1", "t3"]);
});

test("force begins anew, and force with resume continues and replaces", async () => {
  await interrupted();
  const anew = await createOutputFolder(out, { force: true, journal: { facts } });
  expect(await writeTensors(anew)).toEqual(["t0", "t1", "t2", "t3"]);
  await anew.commit();
  expect(readdirSync(root)).toEqual(["merged"]);
  writeFileSync(join(out, "old.txt"), "old");
  const again = await createOutputFolder(out, { force: true, journal: { facts } });
  await writeTensors(again, 3);
  expect(await again.suspend()).toBe(3);
  await expect(createOutputFolder(out, { journal: { facts, resume: true } })).rejects.toMatchObject({
    code: "OUTPUT_EXISTS",
  });
  const replacing = await createOutputFolder(out, { force: true, journal: { facts, resume: true } });
  expect(await writeTensors(replacing)).toEqual(["t3"]);
  await replacing.commit();
  expect(existsSync(join(out, "old.txt"))).toBe(false);
});

test("a run that depends on something else does not continue it, and names what differs", async () => {
  await interrupted();
  const journal = { facts: { recipe: "abc", seed: "7", adapter: "x" }, resume: true };
  const error = await createOutputFolder(out, { journal }).catch((thrown: Error) => thrown);
  expect(error).toMatchObject({ code: "RESUME_MISMATCH" });
  expect((error as Error).message).toContain("seed, adapter differ (expected seed: 0; adapter: none, found seed: 7");
  await resumeAndCompare(["t1", "t3"]);
});

test("a cut-off or damaged end of the journal does not count, nor does a weight file that was cut off", async () => {
  await interrupted();
  appendFileSync(join(leftover(), "journal"), '"t1"');
  await resumeAndCompare(["t1", "t3"]);
  rmSync(out, { recursive: true });
  rmSync(join(root, "reference"), { recursive: true });
  await interrupted();
  appendFileSync(join(leftover(), "journal"), '\n\n"t1\n"t3"\n');
  await resumeAndCompare(["t1", "t3"]);
  rmSync(out, { recursive: true });
  rmSync(join(root, "reference"), { recursive: true });
  await interrupted();
  truncateSync(join(leftover(), "output", plan.files[0].name), 100);
  await resumeAndCompare(["t0", "t1", "t3"]);
});

test("a run that finished nothing leaves nothing, and one with an unreadable journal is no obstacle", async () => {
  const folder = await createOutputFolder(out, { journal: { facts } });
  const writer = await folder.createWriter(plan);
  await writer.write("t0", 0, new Uint8Array(10));
  expect(await folder.suspend()).toBe(0);
  expect(readdirSync(root)).toEqual([]);
  await interrupted();
  writeFileSync(join(leftover(), "journal"), '{"format":99}\n"t0"\n');
  await withOutputFolder(out, { journal: { facts } }, async (whole) => {
    expect(await writeTensors(whole)).toHaveLength(4);
  });
  expect(readdirSync(root)).toEqual(["merged"]);
});

test("an output whose weights are finished, but which is not in its place, is continued with nothing to write", async () => {
  for (let round = 0; round < 10; round++) {
    const folder = await createOutputFolder(out, { journal: { facts } });
    await writeTensors(folder); // finishes while a flush of the journal waits for its moment
    expect(await folder.suspend()).toBe(4);
    const again = await createOutputFolder(out, { journal: { facts, resume: true } });
    expect(await writeTensors(again)).toEqual([]);
    await again.discard();
    expect(readdirSync(root)).toEqual([]);
  }
});

test("an error discards the output, what it continued included", async () => {
  await interrupted();
  const run = withOutputFolder(out, { journal: { facts, resume: true } }, async (folder) => {
    await writeTensors(folder, 1);
    throw new Error("a mistake");
  });
  await expect(run).rejects.toThrow("a mistake");
  expect(readdirSync(root)).toEqual([]);
});

test("a running one is in use, also for those who would continue it; one of a dead process is not", async () => {
  const folder = await createOutputFolder(out, { journal: { facts } });
  await writeTensors(folder, 2);
  for (const resume of [false, true]) {
    await expect(createOutputFolder(out, { journal: { facts, resume } })).rejects.toMatchObject({
      code: "OUTPUT_IN_USE",
    });
  }
  const dead = execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }).trim();
  while (!readFileSync(join(leftover(), "journal"), "utf8").includes('"t1"\n')) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  renameSync(leftover(), leftover().replace(new RegExp(`-${process.pid}-\\d+-`), `-${dead}-1-`));
  await resumeAndCompare(["t2", "t3"]);
});

test("a run of another machine is in use until its journal has been silent for minutes", async () => {
  await interrupted();
  expect(hostname()).not.toBe("");
  renameSync(leftover(), leftover().replace(/-[0-9a-f]{8}-0-0-/, "-00000000-12-34-"));
  await expect(createOutputFolder(out, { journal: { facts, resume: true } })).rejects.toMatchObject({
    code: "OUTPUT_IN_USE",
  });
  const before = Date.now() / 1000 - 600;
  utimesSync(join(leftover(), "journal"), before, before);
  await resumeAndCompare(["t1", "t3"]);
});

test("of two that would continue it at the same time one does", async () => {
  await interrupted();
  const open = () => createOutputFolder(out, { journal: { facts, resume: true } });
  const outcomes = await Promise.allSettled([open(), open()]);
  const opened = outcomes.filter((outcome) => outcome.status === "fulfilled");
  expect(opened.length).toBeLessThanOrEqual(1);
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "OUTPUT_IN_USE" });
  }
  for (const { value } of opened) await value.suspend();
  await resumeAndCompare(["t1", "t3"]);
});
