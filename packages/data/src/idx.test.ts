import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { fixtureArea } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { gunzip, readIdx } from "./idx.ts";

const idx = (type: number, shape: number[], data: number[]) =>
  Uint8Array.from([0, 0, type, shape.length, ...shape.flatMap((n) => [0, 0, n >> 8, n & 255]), ...data]);

describe("IDX", () => {
  test("bytes, and numbers stored from their highest byte on, plain and compressed", async () => {
    const labels = idx(8, [3], [7, 2, 1]);
    expect((await readIdx(labels)).data).toEqual(Uint8Array.of(7, 2, 1));
    expect((await readIdx(gzipSync(labels))).data).toEqual(Uint8Array.of(7, 2, 1));
    const wide = await readIdx(idx(13, [1, 2], [0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]));
    expect(wide).toMatchObject({ dtype: "float32", shape: [1, 2], data: Float32Array.of(1, -2) });
    expect((await readIdx(idx(11, [1], [0xff, 0xfe]))).data).toEqual(Int16Array.of(-2));
  });

  test("the digits of the fixtures", async (context) => {
    const folder = fixtureArea("data");
    const file = join(folder ?? "", "mnist-t10k-labels-idx1-ubyte.gz");
    if (folder === undefined || !existsSync(file)) return context.skip("the fixtures do not hold the digits");
    const labels = await readIdx(readFileSync(file));
    expect(labels.shape).toEqual([10000]);
    expect([...(labels.data as Uint8Array).slice(0, 5)]).toEqual([7, 2, 1, 0, 4]);
    const images = await readIdx(readFileSync(join(folder, "mnist-t10k-images-idx3-ubyte.gz")));
    expect(images.shape).toEqual([10000, 28, 28]);
  });

  test("what is no such file is refused by name", async () => {
    const bad = [
      Uint8Array.of(),
      Uint8Array.of(1, 2, 3, 4, 5),
      idx(99, [1], [1]),
      idx(8, [3], [1]),
      Uint8Array.of(0, 0, 8, 3, 0),
      Uint8Array.of(0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255),
    ];
    for (const bytes of bad) {
      await expect(readIdx(bytes, "labels.idx")).rejects.toMatchObject({
        code: "INVALID_FILE",
        message: expect.stringContaining("labels.idx"),
      });
    }
    await expect(gunzip(Uint8Array.of(0x1f, 0x8b, 1, 2), "a.gz")).rejects.toMatchObject({ code: "INVALID_FILE" });
  });
});
