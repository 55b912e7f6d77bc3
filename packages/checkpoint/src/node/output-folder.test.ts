import { execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { anyTensors } from "../../test/arbitrary-tensors.ts";
import { bytesSource } from "../bytes-source.ts";
import type { SafetensorsPlan } from "../checkpoint.ts";
import { planSafetensors } from "../plan.ts";
import { tensorBytes } from "../tensor-bytes.ts";
import { plannedTensors, writeSafetensors } from "../write-safetensors.ts";
import { openCheckpoint } from "./open.ts";
import { diskFileSystem, type OutputFileSystem } from "./output-file-system.ts";
import { createOutputFolder, withOutputFolder } from "./output-folder.ts";
import { createTensorWriter, openPositionalWriter } from "./tensor-writer.ts";

let root: string;
let out: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "loomweight-output-"));
  out = join(root, "merged");
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const planOf = (...sizes: number[]): SafetensorsPlan =>
  planSafetensors(sizes.map((size, i) => ({ name: `t${i}`, dtype: "uint8" as const, shape: [size] })));
const text = (...names: string[]) => readFileSync(join(root, ...names), "utf8");
const oldOutput = () => {
  mkdirSync(out);
  writeFileSync(join(out, "old.txt"), "old");
};
/** A pid that belonged to a process which has ended. */
const deadPid = () => Number(execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }));
/** Renames what this process made as if another one, now dead, had. */
const ownerPattern = new RegExp(`-${process.pid}-\\d+-`);

describe("an output folder", () => {
  test("appears under its name only when it is committed, and nothing else stays", async () => {
    const folder = await createOutputFolder(out);
    await folder.writeFile("config.json", "{}");
    await folder.writeFile("onnx/model.onnx", new Uint8Array([1, 2]));
    await folder.copyFile("tokenizer.json", bytesSource(new Uint8Array(10_000_000).fill(7), "t"));
    expect(existsSync(out)).toBe(false);
    await folder.commit();
    expect(readdirSync(root)).toEqual(["merged"]);
    expect(text("merged", "config.json")).toBe("{}");
    expect([...readFileSync(join(out, "onnx", "model.onnx"))]).toEqual([1, 2]);
    expect(readFileSync(join(out, "tokenizer.json")).equals(Buffer.alloc(10_000_000, 7))).toBe(true);
    await folder.discard(); // after commit: nothing
    expect(existsSync(out)).toBe(true);
    await expect(folder.writeFile("late", "")).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("leaves nothing behind when it is discarded, once or twice, at once or not", async () => {
    const nested = join(root, "a", "b", "merged");
    for (const sync of [false, true]) {
      const folder = await createOutputFolder(nested);
      const writer = await folder.createWriter(planOf(4));
      await writer.write("t0", 0, new Uint8Array(2));
      if (sync) folder.discardSync();
      await folder.discard();
      await folder.discard();
      expect(readdirSync(root)).toEqual([]);
      await expect(folder.commit()).rejects.toMatchObject({ code: "CLOSED" });
    }
  });

  test("refuses an existing output and leaves it alone", async () => {
    oldOutput();
    await expect(createOutputFolder(out)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    writeFileSync(join(root, "file"), "x");
    await expect(createOutputFolder(join(root, "file"))).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    await expect(createOutputFolder(join(root, "file", "below"))).rejects.toMatchObject({ code: "INVALID_PATH" });
    expect(text("merged", "old.txt")).toBe("old");
    expect(readdirSync(root)).toEqual(["file", "merged"]);
  });

  test("uses an empty folder of its name", async () => {
    mkdirSync(out);
    await withOutputFolder(out, {}, (folder) => folder.writeFile("new.txt", "new"));
    expect(readdirSync(out)).toEqual(["new.txt"]);
  });

  test("replaces with force: the old output stays until the new one is complete, then goes whole", async () => {
    oldOutput();
    const folder = await createOutputFolder(out, { force: true });
    await folder.writeFile("new.txt", "new");
    expect(readdirSync(out)).toEqual(["old.txt"]);
    await folder.commit();
    expect(readdirSync(out)).toEqual(["new.txt"]);
    expect(readdirSync(root)).toEqual(["merged"]);
  });

  test("keeps the old output when work under force fails or is discarded", async () => {
    oldOutput();
    const failure = new Error("kernel fault");
    await expect(withOutputFolder(out, { force: true }, () => Promise.reject(failure))).rejects.toBe(failure);
    expect(readdirSync(root)).toEqual(["merged"]);
    expect(text("merged", "old.txt")).toBe("old");
  });

  test("replaces a link, not what it leads to", async () => {
    mkdirSync(join(root, "data"));
    writeFileSync(join(root, "data", "weights"), "w");
    symlinkSync(join(root, "data"), out);
    await expect(createOutputFolder(out)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    await withOutputFolder(out, { force: true }, (folder) => folder.writeFile("new.txt", "new"));
    expect(text("data", "weights")).toBe("w");
    expect(readdirSync(out)).toEqual(["new.txt"]);
  });

  test("does not overwrite an output that another program made meanwhile", async () => {
    const folder = await createOutputFolder(out);
    await folder.writeFile("new.txt", "new");
    oldOutput();
    await expect(folder.commit()).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(text("merged", "old.txt")).toBe("old");
    await folder.discard();
    expect(readdirSync(root)).toEqual(["merged"]);
  });

  test("never replaces the root, the working folder, one around it, the home folder or a repository", async () => {
    for (const path of ["/", ".", "..", process.env.HOME ?? "/"]) {
      await expect(createOutputFolder(path, { force: true })).rejects.toMatchObject({ code: "UNSAFE_OUTPUT" });
    }
    mkdirSync(join(out, ".git"), { recursive: true });
    await expect(createOutputFolder(out, { force: true })).rejects.toMatchObject({ code: "UNSAFE_OUTPUT" });
  });

  test("refuses names that leave the folder, hide, or belong to the weights", async () => {
    const folder = await createOutputFolder(out);
    for (const name of ["../x", "/etc/x", "a/../../x", "a\\b", ".hidden", "a/.b", "", "a\u0000", "C:x", "a//b"]) {
      await expect(folder.writeFile(name, "x"), name).rejects.toMatchObject({ code: "UNSAFE_NAME" });
    }
    await folder.createWriter(planOf(1));
    await expect(folder.writeFile("model.safetensors", "x")).rejects.toMatchObject({ code: "FILE_EXISTS" });
    await folder.discard();
    expect(readdirSync(root)).toEqual([]);
  });

  test("is refused while another run writes the same output, unless not asked to look", async () => {
    const first = await createOutputFolder(out);
    await expect(createOutputFolder(out)).rejects.toMatchObject({ code: "OUTPUT_IN_USE" });
    const second = await createOutputFolder(out, { lock: false });
    await second.discard();
    await first.writeFile("a", "a");
    await first.commit();
    expect(readdirSync(root)).toEqual(["merged"]);
  });

  test("clears what a killed run left, and only that", async () => {
    const dead = deadPid();
    const mine = await createOutputFolder(join(root, "other"));
    for (const kind of ["partial", "replaced"]) {
      mkdirSync(
        join(
          root,
          basename(mine.path).replace("other", "merged").replace("partial", kind).replace(ownerPattern, `-${dead}-1-`),
        ),
      );
    }
    const foreign = join(
      root,
      basename(mine.path)
        .replace("other", "merged")
        .replace(/-[0-9a-f]{8}-\d+-/, "-00000000-1-"),
    );
    mkdirSync(foreign);
    oldOutput();
    await expect(createOutputFolder(out, { force: true })).rejects.toMatchObject({ code: "OUTPUT_IN_USE" }); // another machine's
    expect(readdirSync(root).sort()).toEqual([basename(foreign), basename(mine.path), "merged"].sort());
    rmSync(foreign, { recursive: true });
    await withOutputFolder(out, { force: true }, (folder) => folder.writeFile("new.txt", "new"));
    expect(readdirSync(root).sort()).toEqual([basename(mine.path), "merged"].sort());
    await mine.discard();
  });

  test("brings back an output that was moved aside by a run that died before the new one was in place", async () => {
    const dead = deadPid();
    const probe = await createOutputFolder(out);
    const aside = join(root, basename(probe.path).replace("partial", "replaced").replace(ownerPattern, `-${dead}-1-`));
    await probe.discard();
    mkdirSync(aside);
    writeFileSync(join(aside, "old.txt"), "old");
    await expect(createOutputFolder(out)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(text("merged", "old.txt")).toBe("old");
    expect(readdirSync(root)).toEqual(["merged"]);
  });

  test("a run that is killed leaves neither an output nor an obstacle", async () => {
    const index = new URL("./index.ts", import.meta.url).href;
    const script = `import { createOutputFolder } from ${JSON.stringify(index)};
      const folder = await createOutputFolder(${JSON.stringify(out)});
      await folder.writeFile("half.txt", "half");
      console.log("ready");
      setInterval(() => {}, 1000);`;
    const child = spawn(
      process.execPath,
      ["--conditions=@loomweight/source", "--import", "tsx", "--input-type=module", "-e", script],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await new Promise((resolve, reject) => {
      child.stdout.once("data", resolve);
      child.once("exit", () => reject(new Error("the child ended early")));
    });
    await expect(createOutputFolder(out)).rejects.toMatchObject({ code: "OUTPUT_IN_USE" });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    expect(existsSync(out)).toBe(false);
    await withOutputFolder(out, {}, (folder) => folder.writeFile("whole.txt", "whole"));
    expect(readdirSync(root)).toEqual(["merged"]);
    expect(readdirSync(out)).toEqual(["whole.txt"]);
  }, 60_000);

  test("names of 255 bytes and of any script work", async () => {
    for (const name of ["m".repeat(255), "é".repeat(127), "模型 v2", "a.b-c_d"]) {
      const path = join(root, name);
      await withOutputFolder(path, {}, (folder) => folder.writeFile("a", "a"));
      await withOutputFolder(path, { force: true }, (folder) => folder.writeFile("b", "b"));
      expect(readdirSync(path)).toEqual(["b"]);
      rmSync(path, { recursive: true });
      expect(readdirSync(root)).toEqual([]);
    }
  });
});

describe("a tensor writer", () => {
  test("gives the same files whatever the order and size of the pieces", async () => {
    await fc.assert(
      fc.asyncProperty(anyTensors, fc.integer({ min: 1, max: 9 }), fc.nat(), async (tensors, piece, seed) => {
        const plan = planSafetensors(plannedTensors(tensors));
        const pieces = [...tensors].flatMap(([name, tensor]) => {
          const bytes = tensorBytes(tensor);
          const starts = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, i) => i * piece);
          return starts.map((start) => ({ name, start, bytes: bytes.subarray(start, start + piece) }));
        });
        pieces.sort(
          (a, b) => ((a.start * 31 + a.name.length * 17 + seed) % 7) - ((b.start * 31 + b.name.length * 17 + seed) % 7),
        );
        await withOutputFolder(out, { force: true }, async (folder) => {
          const writer = await folder.createWriter(plan);
          await Promise.all(pieces.map(({ name, start, bytes }) => writer.write(name, start, bytes)));
          await writer.finish();
        });
        expect(readFileSync(join(out, "model.safetensors")).equals(writeSafetensors(tensors))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test("writes shards and their index, which open as one checkpoint", async () => {
    const plan = planSafetensors(
      [0, 1, 2, 3].map((i) => ({ name: `t${i}`, dtype: "int16" as const, shape: [i, 100] })),
      { maxShardBytes: 400 },
    );
    await withOutputFolder(out, {}, async (folder) => {
      const writer = await folder.createWriter(plan);
      for (const [name, { byteLength }] of plan.tensors)
        await writer.write(name, 0, new Uint8Array(byteLength).fill(Number(name[1])));
      await writer.finish();
    });
    expect(readdirSync(out)).toEqual([
      "model-00001-of-00003.safetensors",
      "model-00002-of-00003.safetensors",
      "model-00003-of-00003.safetensors",
      "model.safetensors.index.json",
    ]);
    const checkpoint = await openCheckpoint(out);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(["t0", "t1", "t2", "t3"]);
    for (const i of [0, 1, 2, 3]) {
      const { data, shape } = await checkpoint.read(`t${i}`);
      expect(shape).toEqual([i, 100]);
      expect(data).toEqual(new Int16Array(100 * i).fill(0x0101 * i));
    }
    await checkpoint.close();
  });

  test("says which bytes are missing", async () => {
    const folder = await createOutputFolder(out);
    const writer = await folder.createWriter(planOf(10, 4, 0));
    await writer.write("t0", 0, new Uint8Array(3));
    await writer.write("t0", 7, new Uint8Array(3));
    const error = await writer.finish().catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: "INCOMPLETE_OUTPUT", details: { tensor: "t0" } });
    expect((error as Error).message).toContain(
      '8 bytes of the output were not written: "t0" bytes 3 to 7 of 10, "t1" bytes 0 to 4 of 4',
    );
    await expect(folder.commit()).rejects.toMatchObject({ code: "INCOMPLETE_OUTPUT" });
    await writer.write("t0", 3, new Uint8Array(4));
    await writer.write("t1", 0, new Uint8Array(4));
    await writer.finish();
    await folder.commit();
    expect(existsSync(join(out, "model.safetensors"))).toBe(true);
  });

  test("refuses a byte twice, bytes outside a tensor, unknown tensors and writing after the end", async () => {
    const folder = await createOutputFolder(out);
    const writer = await folder.createWriter(planOf(10));
    await writer.write("t0", 2, new Uint8Array(4));
    await expect(writer.write("t0", 5, new Uint8Array(2))).rejects.toMatchObject({ code: "ALREADY_WRITTEN" });
    await expect(writer.write("t0", 0, new Uint8Array(11))).rejects.toMatchObject({ code: "INVALID_RANGE" });
    await expect(writer.write("t0", -1, new Uint8Array(1))).rejects.toMatchObject({ code: "INVALID_RANGE" });
    await expect(writer.write("t0", 0.5, new Uint8Array(1))).rejects.toMatchObject({ code: "INVALID_RANGE" });
    const unknown = await writer.write("to", 0, new Uint8Array(1)).catch((thrown: Error) => thrown);
    expect(unknown).toMatchObject({ code: "UNKNOWN_TENSOR" });
    expect((unknown as Error).message).toContain('"t0"');
    await folder.discard();
    await expect(writer.write("t0", 0, new Uint8Array(1))).rejects.toMatchObject({ code: "CLOSED" });
    await expect(
      createTensorWriter(root, planOf(1)).then((w) => w.abort().then(() => createTensorWriter(root, planOf(1)))),
    ).rejects.toMatchObject({
      code: "FILE_EXISTS",
    });
  });

  test("counts what other threads wrote through writers of their own", async () => {
    const plan = planOf(8);
    await withOutputFolder(out, {}, async (folder) => {
      const writer = await folder.createWriter(plan);
      const other = await openPositionalWriter(folder.path, structuredClone(plan)); // as a worker gets it
      await other.write("t0", 4, new Uint8Array([5, 6, 7, 8]));
      await expect(other.write("t0", 5, new Uint8Array(4))).rejects.toMatchObject({ code: "INVALID_RANGE" });
      await other.close();
      writer.markWritten("t0", 4, 8);
      await writer.write("t0", 0, new Uint8Array([1, 2, 3, 4]));
      await writer.finish();
    });
    const checkpoint = await openCheckpoint(out);
    expect([...(await checkpoint.readBytes("t0"))]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    await checkpoint.close();
  });
});

describe("a disk that is full", () => {
  test("is found out before anything is written", async () => {
    const fileSystem: OutputFileSystem = { ...diskFileSystem(), freeBytes: async () => 999 };
    const run = withOutputFolder(out, { fileSystem }, async (folder) => {
      await folder.createWriter(planOf(1000));
    });
    const error = await run.catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: "DISK_FULL" });
    expect((error as Error).message).toMatch(/expected 1\d\d\d bytes free, found 999 bytes/);
    expect(readdirSync(root)).toEqual([]);
  });

  test("is told with the space that is left when it fills up while writing, and nothing stays behind", async () => {
    let room = 1200;
    const disk = diskFileSystem();
    const fileSystem: OutputFileSystem = {
      freeBytes: async () => undefined,
      async open(path, flags) {
        const handle = await disk.open(path, flags);
        const write = handle.write.bind(handle) as (...args: unknown[]) => Promise<{ bytesWritten: number }>;
        handle.write = (async (bytes: Uint8Array, offset: number, length: number, position: number) => {
          if (room === 0) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
          const count = Math.min(room, length); // a filling disk takes a part first
          room -= count;
          return write(bytes, offset, count, position);
        }) as unknown as typeof handle.write;
        return handle;
      },
    };
    oldOutput();
    const run = withOutputFolder(out, { fileSystem, force: true }, async (folder) => {
      const writer = await folder.createWriter(planOf(1000, 1000));
      await writer.write("t0", 0, new Uint8Array(1000));
      await writer.write("t1", 0, new Uint8Array(1000));
    });
    await expect(run).rejects.toMatchObject({ code: "DISK_FULL", cause: { code: "ENOSPC" } });
    expect(readdirSync(root)).toEqual(["merged"]);
    expect(text("merged", "old.txt")).toBe("old");
  });

  test("is met on a real file system of a megabyte", async (context) => {
    const mountPoint = join(root, "small");
    mkdirSync(mountPoint);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", mountPoint], { stdio: "ignore" });
    } catch {
      return context.skip("mounting needs rights that this run does not have");
    }
    try {
      const target = join(mountPoint, "merged");
      const needsTooMuch = withOutputFolder(target, {}, async (folder) => {
        await folder.createWriter(planOf(2_000_000));
      });
      await expect(needsTooMuch).rejects.toMatchObject({ code: "DISK_FULL" });
      const blind: OutputFileSystem = { ...diskFileSystem(), freeBytes: async () => undefined };
      const fills = withOutputFolder(target, { fileSystem: blind }, async (folder) => {
        const writer = await folder.createWriter(planOf(2_000_000));
        for (let at = 0; at < 2_000_000; at += 100_000) await writer.write("t0", at, new Uint8Array(100_000).fill(1));
      });
      await expect(fills).rejects.toMatchObject({ code: "DISK_FULL" });
      const copies = withOutputFolder(target, {}, (folder) =>
        folder.writeFile("big", new Uint8Array(2_000_000).fill(1)),
      );
      await expect(copies).rejects.toMatchObject({ code: "DISK_FULL" });
      expect(readdirSync(mountPoint)).toEqual([]);
    } finally {
      execFileSync("umount", [mountPoint]);
    }
  });
});

test.skipIf(process.platform !== "linux")("a place where no folder can be made is told at once", async () => {
  await expect(createOutputFolder("/proc/loomweight/deep/merged")).rejects.toMatchObject({
    code: "MISSING_FILE",
    details: { file: "/proc/loomweight/deep/merged" },
  });
});

test("folders above the output are made, and taken away again when it is discarded", async () => {
  const deep = join(root, "a", "b", "merged");
  const folder = await createOutputFolder(deep);
  expect(existsSync(join(root, "a", "b"))).toBe(true);
  await folder.discard();
  expect(readdirSync(root)).toEqual([]);
});
