import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { bytesSource } from "@loomweight/checkpoint";
import { describe, expect, test } from "vitest";
import { decodeTensor, tensorOfRecord } from "../src/codec/tensor-proto.ts";
import { readOnnx } from "../src/index.ts";
import { cursorOf } from "../src/protobuf/reader.ts";
import { hasNodeCases, readNodeCases } from "./node-cases.ts";
import { difference, type Feeds, feedOf, findFeeds, runModel, waysOf, writtenAgain } from "./round-trip.ts";

/**
 * A folder of ONNX files of any origin: each is read, written, normalised, traced, and gives the same each way. Default:
 * what torch's two exporters made of small models.
 */
const folder =
  process.env.LOOMWEIGHT_ONNX_FOLDER ?? fileURLToPath(new URL("../../onnx-export/test/data", import.meta.url));

function filesUnder(path: string): string[] {
  return readdirSync(path).flatMap((name) => {
    const inner = join(path, name);
    if (statSync(inner).isDirectory()) return filesUnder(inner);
    return /\.onnx(\.gz)?$/.test(name) ? [inner] : [];
  });
}

test.skipIf(!hasNodeCases())(
  "an untouched model of every op is written with nothing lost",
  { timeout: 120_000 },
  async () => {
    const counts = { bytes: 0, content: 0, lost: 0 };
    for (const { name, model } of readNodeCases()) counts[await writtenAgain(model, name)]++;
    expect(counts).toEqual({ bytes: 1384, content: 500, lost: 0 });
  },
);

describe("files of other tools", () => {
  for (const file of filesUnder(folder)) {
    test(relative(folder, file), { timeout: 120_000 }, async (context) => {
      const stored = readFileSync(file);
      const bytes = new Uint8Array(file.endsWith(".gz") ? gunzipSync(stored) : stored);
      expect(await writtenAgain(bytes, file)).not.toBe("lost");
      const feeds = await findFeeds(bytes, await readOnnx(bytesSource(bytes, file)));
      if (feeds === undefined) return context.skip("no input found on which it runs");
      const expected = await runModel(bytes, feeds);
      for (const [way, written] of Object.entries(await waysOf(bytes, file))) {
        if (!(written instanceof Uint8Array)) throw written;
        const found = await runModel(written, feeds);
        for (const [name, value] of Object.entries(expected)) {
          expect(difference(value, found[name]), `${way}: ${name}`).toBeLessThanOrEqual(1e-5);
        }
      }
    });
  }
});

/** What tools/onnx-node-cases writes with --data: a model and its inputs in each folder. */
const nodeData = process.env.LOOMWEIGHT_NODE_DATA;

function feedsIn(path: string, names: readonly string[]): Feeds {
  return Object.fromEntries(
    names.map((name, index) => {
      const bytes = new Uint8Array(readFileSync(join(path, `input_${index}.pb`)));
      return [name, feedOf(tensorOfRecord(decodeTensor(cursorOf(bytes, name)), name))];
    }),
  );
}

describe("onnx's node cases with their data", () => {
  test("run alike on every way", { timeout: 600_000 }, async (context) => {
    if (nodeData === undefined) return context.skip("no folder of onnx's cases with data: LOOMWEIGHT_NODE_DATA");
    const folder = nodeData;
    const counts = { cases: 0, run: 0, equal: {} as Record<string, number> };
    const refused = new Map<string, number>();
    const different: string[] = [];
    for (const name of readdirSync(folder).sort()) {
      counts.cases++;
      const path = join(folder, name);
      const bytes = new Uint8Array(readFileSync(join(path, "model.onnx")));
      const model = await readOnnx(bytesSource(bytes, name));
      let feeds: Feeds;
      let expected: Awaited<ReturnType<typeof runModel>>;
      try {
        feeds = feedsIn(
          path,
          model.graph.inputs.map((each) => each.name),
        );
        expected = await runModel(bytes, feeds);
      } catch {
        continue; // sequences, dtypes that JavaScript cannot pass, and what this onnxruntime does not run
      }
      counts.run++;
      const random = model.graph.nodes.some((node) => /Random|Bernoulli|Multinomial|Dropout/.test(node.op));
      for (const [way, written] of Object.entries(await waysOf(bytes, name))) {
        if (!(written instanceof Uint8Array)) {
          const why = `${way}: ${written.code}`;
          refused.set(why, (refused.get(why) ?? 0) + 1);
          continue;
        }
        const found = await runModel(written, feeds).catch((cause: Error) => cause);
        const same =
          !(found instanceof Error) &&
          Object.entries(expected).every(([output, value]) => random || difference(value, found[output]) <= 1e-5);
        if (same) counts.equal[way] = (counts.equal[way] ?? 0) + 1;
        else different.push(`${name} ${way}${found instanceof Error ? `: ${found.message.slice(0, 200)}` : ""}`);
      }
    }
    console.log(counts, refused);
    expect(different).toEqual([]);
    expect(counts.equal["written again"]).toBe(counts.run);
  });
});
