import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { imageBatch } from "../src/index.ts";
import { decodeImage, openImageFolder } from "../src/node/index.ts";

const root = mkdtempSync(join(tmpdir(), "loomweight-images-"));
afterAll(() => rmSync(root, { recursive: true }));

async function plain(path: string, rgb: [number, number, number]) {
  const data = Buffer.from(Array.from({ length: 16 }, () => rgb).flat());
  await sharp(data, { raw: { width: 4, height: 4, channels: 3 } }).toFile(path);
}

describe("images", () => {
  test("a folder of classes is listed and decoded at one size", async () => {
    const folder = join(root, "pets");
    for (const name of ["dog", "cat", ".hidden"]) mkdirSync(join(folder, name), { recursive: true });
    await plain(join(folder, "dog", "b.png"), [255, 0, 0]);
    await plain(join(folder, "cat", "a.jpg"), [0, 0, 255]);
    writeFileSync(join(folder, "cat", "notes.txt"), "no image");
    const { classes, images } = await openImageFolder(folder);
    expect(classes).toEqual(["cat", "dog"]);
    expect(images.map(({ label }) => label)).toEqual([0, 1]);
    const decoded = await Promise.all(images.map(({ path }) => decodeImage(path, { width: 2, height: 2 })));
    const batch = imageBatch(decoded, { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] });
    expect(batch.shape).toEqual([2, 3, 2, 2]);
    expect([...batch.data.slice(12)]).toEqual([1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1]);
    expect(batch.data[8]).toBeGreaterThan(0.95); // blue of the first, through JPEG
    expect((await decodeImage(images[1].path, { width: 2, height: 2, channels: 1 })).channels).toBe(1);
  });

  test("what is not there or no image is refused by name", async () => {
    const empty = join(root, "empty");
    mkdirSync(join(empty, "class"), { recursive: true });
    await expect(openImageFolder(empty)).rejects.toMatchObject({ code: "EMPTY_FOLDER" });
    await expect(decodeImage(Uint8Array.of(1, 2, 3), { width: 2, height: 2 })).rejects.toMatchObject({
      code: "INVALID_FILE",
    });
    await expect(decodeImage(join(root, "none.png"), { width: 2, height: 2 })).rejects.toMatchObject({
      code: "INVALID_FILE",
    });
  });

  test("images of unequal size are not a batch; transparency is dropped", () => {
    const image = { width: 1, height: 1, channels: 4, data: Uint8Array.of(0, 51, 255, 9) };
    expect([...imageBatch([image]).data].map((x) => Math.round(x * 10))).toEqual([0, 2, 10]);
    expect(() => imageBatch([image, { ...image, width: 2 }])).toThrow(
      expect.objectContaining({ code: "SHAPE_MISMATCH" }),
    );
    expect(() => imageBatch([image], { mean: [0] })).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
  });
});
