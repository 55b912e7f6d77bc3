import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { bytesSource, openSafetensors, planSafetensors, writeSafetensors } from "../src/index.ts";
import { openCheckpoint } from "../src/node/index.ts";

/** Every safetensors file of the recorded references: safetensors' own serializer wrote them. */
function safetensorsFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return safetensorsFiles(path);
    return entry.name.endsWith(".safetensors") && statSync(path).size < 2 ** 28 ? [path] : [];
  });
}

const files = safetensorsFiles(fixturesRoot());

describe("files that safetensors' own serializer wrote", () => {
  test("are there", (context) => {
    if (files.length === 0) context.skip("the bundled references hold no safetensors file");
    expect(files.length).toBeGreaterThan(0);
  });

  for (const path of files) {
    test(`${relative(fixturesRoot(), path)} opens and is written again byte for byte`, async () => {
      const bytes = new Uint8Array(readFileSync(path));
      const checkpoint = await openSafetensors(bytesSource(bytes, path));
      const onDisk = await openCheckpoint(path);
      expect([...onDisk.tensors.keys()]).toEqual([...checkpoint.tensors.keys()]);

      const tensors = new Map();
      // backwards: the order of the input must not matter
      for (const name of [...checkpoint.tensors.keys()].reverse()) tensors.set(name, await onDisk.read(name));
      await onDisk.close();

      // The reference writes its metadata in an order of its own making when there is more than one entry.
      const { metadata } = checkpoint;
      const written = writeSafetensors(tensors, { metadata });
      if (Object.keys(metadata).length <= 1) expect(Buffer.compare(written, bytes)).toBe(0);
      else expect(written.length).toBe(bytes.length);
      expect(planSafetensors(checkpoint.tensors.values(), { metadata }).files[0].size).toBe(bytes.length);
    });
  }
});
