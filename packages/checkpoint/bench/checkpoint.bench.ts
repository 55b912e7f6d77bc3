/**
 * Reading and writing one gigabyte of safetensors beside what the system's own `cp` and a plain read take, and reading
 * a header of 100,000 tensors. Prints the best of three runs each.
 *
 *   pnpm --filter @loomweight/checkpoint bench [folder] [megabytes]
 *
 * The folder should lie in memory (default /dev/shm where there is one), so that the disk is not what is measured.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKernels } from "@loomweight/kernels";
import { diffCheckpoints, parseSafetensorsHeader, planSafetensors } from "../src/index.ts";
import { openCheckpoint, withOutputFolder } from "../src/node/index.ts";

const tile = 4 * 2 ** 20;

async function best(
  name: string,
  bytes: number,
  run: () => unknown,
  before: () => void = () => undefined,
): Promise<number> {
  let seconds = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    before();
    const start = performance.now();
    await run();
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  const rate = bytes === 0 ? "" : `  ${(bytes / seconds / 1e9).toFixed(2)} GB/s`;
  console.log(`${name.padEnd(46)} ${(seconds * 1000).toFixed(0).padStart(6)} ms${rate}`);
  return seconds;
}

async function main(parent: string, megabytes: number): Promise<void> {
  const folder = mkdtempSync(join(parent, "loomweight-bench-"));
  try {
    // Layers as a model has them: many tensors of some megabytes, a few small ones.
    const count = Math.max(1, Math.round(megabytes / 8));
    const plan = planSafetensors(
      Array.from({ length: count }, (_, i) => ({
        name: `layers.${i}.weight`,
        dtype: "bfloat16" as const,
        shape: [2048, 2048],
      })),
    );
    const total = plan.files.reduce((sum, { size }) => sum + size, 0);
    const model = join(folder, "model");
    const piece = new Uint8Array(tile).map((_, i) => i * 31);
    const write = (path: string) =>
      withOutputFolder(path, { force: true }, async (output) => {
        const writer = await output.createWriter(plan);
        for (const [name, { byteLength }] of plan.tensors) {
          for (let at = 0; at < byteLength; at += tile)
            await writer.write(name, at, piece.subarray(0, Math.min(tile, byteLength - at)));
        }
        await writer.finish();
      });
    const clear = (path: string) => () => rmSync(path, { recursive: true, force: true });
    await best("write, tile by tile", total, () => write(model), clear(model));

    const file = join(model, "model.safetensors");
    const copy = join(folder, "copy");
    await best("cp", total, () => execFileSync("cp", [file, copy]), clear(copy));

    const kernels = createKernels();
    const into = kernels.allocateUnset(tile);
    await best("plain readSync of the same pieces", total, () => {
      const descriptor = openSync(file, "r");
      for (let at = 0; at < total; at += tile) readSync(descriptor, into, 0, Math.min(tile, total - at), at);
    });
    await best("plain FileHandle.read of the same pieces", total, async () => {
      const handle = await open(file, "r");
      for (let at = 0; at < total; at += tile) await handle.read(into, 0, Math.min(tile, total - at), at);
      await handle.close();
    });
    await best("read all, tile by tile into kernel memory", total, async () => {
      const checkpoint = await openCheckpoint(model);
      for (const { name, byteLength } of checkpoint.tensors.values()) {
        for (let start = 0; start < byteLength; start += tile) {
          const end = Math.min(byteLength, start + tile);
          await checkpoint.readBytes(name, { start, end, into: into.subarray(0, end - start) });
        }
      }
      await checkpoint.close();
    });
    await best(
      "copy: read and write tile by tile",
      total,
      async () => {
        const checkpoint = await openCheckpoint(model);
        await withOutputFolder(copy, { force: true }, async (output) => {
          const writer = await output.createWriter(plan);
          for (const { name, byteLength } of checkpoint.tensors.values()) {
            for (let start = 0; start < byteLength; start += tile) {
              const end = Math.min(byteLength, start + tile);
              const bytes = into.subarray(0, end - start);
              await checkpoint.readBytes(name, { start, end, into: bytes });
              await writer.write(name, start, bytes);
            }
          }
          await writer.finish();
        });
        await checkpoint.close();
      },
      clear(copy),
    );
    await best("compare with itself", total, async () => {
      const [a, b] = [await openCheckpoint(model), await openCheckpoint(model)];
      await diffCheckpoints(a, b);
      await Promise.all([a.close(), b.close()]);
    });
    const header = manyTensors(100_000);
    await best("header of 100,000 tensors", 0, () => parseSafetensorsHeader(header.bytes, header.fileSize, "big"));
    await best("the same through JSON.parse, unchecked", 0, () => JSON.parse(new TextDecoder().decode(header.bytes)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function manyTensors(count: number): { bytes: Uint8Array; fileSize: number } {
  const entries = Array.from({ length: count }, (_, i) => {
    const range = `[${i * 8388608},${(i + 1) * 8388608}]`;
    return `"model.layers.${i >> 10}.mlp.experts.${i & 1023}.w1.weight":{"dtype":"BF16","shape":[4096,1024],"data_offsets":${range}}`;
  });
  const bytes = new TextEncoder().encode(`{${entries.join(",")}}`);
  return { bytes, fileSize: 8 + bytes.length + count * 8388608 };
}

void main(process.argv[2] ?? (existsSync("/dev/shm") ? "/dev/shm" : tmpdir()), Number(process.argv[3] ?? 1000));
