import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { bytesSource } from "@loomweight/checkpoint";
import { describe, expect, test } from "vitest";
import { readOnnx } from "../src/index.ts";
import { difference, findFeeds, runModel, waysOf } from "./round-trip.ts";

/** A folder of ONNX files of any origin: each is read, written, normalised, traced, and gives the same each way. */
const folder = process.env.LOOMWEIGHT_ONNX_FOLDER;

function filesUnder(path: string): string[] {
  return readdirSync(path).flatMap((name) => {
    const inner = join(path, name);
    if (statSync(inner).isDirectory()) return filesUnder(inner);
    return name.endsWith(".onnx") ? [inner] : [];
  });
}

describe("files of other tools", () => {
  if (folder === undefined) {
    test.skip("no folder given: LOOMWEIGHT_ONNX_FOLDER", () => {});
    return;
  }
  for (const file of filesUnder(folder)) {
    test(relative(folder, file), { timeout: 120_000 }, async (context) => {
      const bytes = new Uint8Array(readFileSync(file));
      const feeds = await findFeeds(bytes, await readOnnx(bytesSource(bytes, file)));
      if (feeds === undefined) return context.skip("no input found on which it runs");
      const expected = await runModel(bytes, feeds);
      for (const [way, written] of Object.entries(await waysOf(bytes, file))) {
        const found = await runModel(written, feeds);
        for (const [name, value] of Object.entries(expected)) {
          expect(difference(value, found[name]), `${way}: ${name}`).toBeLessThanOrEqual(1e-5);
        }
      }
    });
  }
});
