import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea } from "@loomweight/fixtures";
import { evaluateTrace, importOnnx, instantiate, type OnnxModel } from "@loomweight/graph";
import { contiguousData, fromData, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import * as attachPackage from "../src/attach/index.ts";
import * as main from "../src/index.ts";
import { memoryCheckpoint } from "./memory.ts";
import { runExample } from "./page-example.ts";
import { smallDecoder, smallDecoderConfig, smallDecoderWeights, smallIds } from "./small-decoder.ts";

/** The model's output, its adapter included where one is given. */
async function outputOf(model: OnnxModel, feeds: Readonly<Record<string, Tensor>> = {}): Promise<Float64Array> {
  const imported = await importOnnx(model);
  const weights: Record<string, Tensor> = {};
  for (const [name, { data }] of imported.parameters) if (data !== undefined) weights[name] = await data.read();
  const { hidden } = instantiate(imported).outputs;
  return toFloat64(evaluateTrace({ hidden }, { ...weights, ...feeds, input_ids: smallIds }).hidden);
}

const largest = (a: Float64Array, b: Float64Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

const weights = smallDecoderWeights();
const model = smallDecoder(weights);

describe("the example on a page", () => {
  test.for(main.adapterMethods.filter(({ name }) => name !== "frod"))(
    "$name: attached, written, folded: one answer",
    async ({ name, bias, weight }) => {
      const checkpoint = await memoryCheckpoint(weights, "base.safetensors");
      const made = await runExample(name, { model, checkpoint, modelConfig: smallDecoderConfig }, [
        "attachment",
        "parameters",
        "folded",
      ]);
      const { attachment, parameters } = made as {
        attachment: attachPackage.Attachment;
        parameters: Record<string, Tensor>;
      };
      const folded = made.folded as Checkpoint;
      const read = new Map<string, Tensor>();
      for (const key of weights.keys()) read.set(key, await folded.read(key));
      const [before, attached, after] = [
        await outputOf(model),
        await outputOf(attachPackage.attachedModel(attachment, { parameters })),
        await outputOf(smallDecoder(read)),
      ];
      expect(largest(before, attached)).toBeGreaterThan(1e-3);
      expect(largest(attached, after)).toBeLessThan(5e-5 * Math.max(1, ...attached.map(Math.abs)));
      const changed = [...weights.keys()].filter(
        (key) => `${contiguousData(weights.get(key) as Tensor)}` !== `${contiguousData(read.get(key) as Tensor)}`,
      );
      expect(changed.length).toBeGreaterThan(0);
      expect(changed.every((key) => (key.endsWith(".weight") ? weight !== undefined : bias !== undefined))).toBe(true);
    },
  );

  test.for(main.blockMethods)("$name: attached, written, exported: one answer", async ({ name }) => {
    const made = await runExample(name, { model, checkpoint: undefined }, ["attachment", "parameters", "exported"]);
    const { attachment, parameters, exported } = made as {
      attachment: attachPackage.Attachment;
      parameters: Record<string, Tensor>;
      exported: OnnxModel;
    };
    const told = Object.keys(attachment.blocks[0].inputs);
    const feeds = Object.fromEntries(told.map((each) => [each, fromData("int64", BigInt64Array.of(1n), [])]));
    const attached = await outputOf(attachPackage.attachedModel(attachment, { parameters }), feeds);
    expect(largest(attached, await outputOf(exported, feeds))).toBe(0);
    expect(largest(attached, await outputOf(model))).toBeGreaterThan(1e-3);
  });

  test("frod: a folder that PEFT wrote, folded", async (context) => {
    const peft = fixtureArea("peft");
    const folder = join(peft ?? "", "cases", "frod");
    if (!existsSync(folder)) return context.skip("the record of frod is not among these fixtures");
    const record = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
    const base = await openModel(join(peft ?? "", record.base));
    const made = await runExample("frod", { checkpoint: base.checkpoint, modelConfig: base.config, folder }, [
      "folded",
    ]);
    const folded = made.folded as Checkpoint;
    const changed: string[] = [];
    for (const key of base.checkpoint.tensors.keys()) {
      const [before, after] = [await base.checkpoint.read(key), await folded.read(key)];
      if (`${contiguousData(before)}` !== `${contiguousData(after)}`) changed.push(key);
    }
    expect(changed.sort()).toEqual([...record.changed].sort());
    await base.close();
  });
});
