import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Adapter } from "@loomweight/adapters";
import { attach } from "@loomweight/adapters/attach";
import { foldModel, openAdapterFolder } from "@loomweight/adapters/node";
import type { ModelFolder } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea } from "@loomweight/fixtures";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import type { Tensor } from "@loomweight/tensor";
import { readTrainConfig, trainAdapterFolder } from "@loomweight/train/node";
import { expect, test } from "vitest";
import { createAdapterSession, parseAdapterSlots } from "../src/index.ts";
import { decoderFeeds, int64, maxDifference, withExport, withSession } from "./exported.ts";

const area = fixtureArea("models");
const ids = int64([17, 4, 92, 33, 8, 51, 20, 3, 45, 6], [1, 10]);

test("a LoRA trained here gives one answer attached, folded and exported, and swapped into slots", {
  timeout: 300_000,
}, async (context) => {
  if (area === undefined) return context.skip("models is not here");
  const base = join(area, "scribe", "scribe-base");
  const root = mkdtempSync(join(tmpdir(), "loomweight-trained-"));
  try {
    writeFileSync(join(root, "train.txt"), "All: Speak, speak.\nFirst Citizen: Resolved.\nAll: Resolved, resolved.\n");
    const config = readTrainConfig({
      model: base,
      out: "adapter",
      adapter: { method: "lora", rank: 4, alpha: 8 },
      data: { train: "train.txt", length: 32 },
      training: { steps: 6, batchSize: 3, learningRate: 2e-2 },
    });
    await trainAdapterFolder(config, { root, threads: 1 });
    const adapter = await openAdapterFolder(join(root, "adapter"));
    const model = await openModel(base);
    const attached = await attachedLogits(model, adapter);

    const plain = await withExport(base, (folder) => withSession(folder, "fp32", logitsOf), ["fp32"]);
    expect(maxDifference(attached, plain), "the training changed the model").toBeGreaterThan(0.5);

    // float32: the base is bfloat16, and rounding to it would hide what folding does
    await foldModel(base, [join(root, "adapter")], join(root, "folded"), { dtype: "float32" });
    const folded = await withExport(join(root, "folded"), (folder) => withSession(folder, "fp32", logitsOf), ["fp32"]);

    const slots = await withExport(
      base,
      async (folder) => {
        const slots = parseAdapterSlots(JSON.parse(await readFile(join(folder, "adapter_slots.json"), "utf8")));
        return withSession(folder, "fp32", async (raw) => {
          const session = createAdapterSession(raw, slots);
          await session.load("trained", adapter, { base: model });
          session.use("trained");
          const outputs = await session.run(decoderFeeds(session, ids));
          return outputs.logits;
        });
      },
      ["fp32"],
      { adapterSlots: true },
    );
    await adapter.checkpoint.close();
    await model.close();
    const [foldedBy, slotsBy] = [maxDifference(attached, folded), maxDifference(attached, slots)];
    context.annotate(`folded ${foldedBy.toExponential(1)}, slots ${slotsBy.toExponential(1)} from attached`);
    expect(foldedBy, "folded").toBeLessThanOrEqual(1e-4);
    expect(slotsBy, "slots").toBeLessThanOrEqual(1e-4);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

async function logitsOf(session: Parameters<typeof decoderFeeds>[0]): Promise<Tensor> {
  return (await session.run(decoderFeeds(session, ids))).logits;
}

/** Logits of the base with the adapter on its layers. */
async function attachedLogits(base: ModelFolder, adapter: Adapter): Promise<Tensor> {
  const { model } = await buildModel(base, "text-generation", { fuse: "none" });
  const attachment = await attach(model, base.checkpoint, adapter);
  const runtime = await createRuntime({ threads: 1 });
  try {
    const inputs = decoderFeeds(attachment.model as never, ids);
    const { logits } = attachment.instantiate({ inputs, parameters: attachment.parameters }).outputs;
    const program = await runtime.compile({ outputs: { logits } });
    return (await program.run({})).logits;
  } finally {
    await runtime.close();
  }
}
