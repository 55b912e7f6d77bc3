import { join } from "node:path";
import { lnTuning, lora, openFolded } from "@loomweight/adapters";
import { fileSetFromMap } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea } from "@loomweight/fixtures";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { fromData } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type TrainAdapterOptions, trainAdapter } from "../src/index.ts";

const peft = fixtureArea("peft");
describe.skipIf(peft === undefined)("ln-tuning of a llama", () => {
  test("trained norms, folded, have the loss of the trained graph", async () => {
    const runtime = await createRuntime({ threads: 1 });
    const base = await openModel(join(peft ?? "", "base", "llama"));
    const { model: graph } = await buildModel(base, "text-generation", { fuse: "none" });
    const ids = fromData(
      "int64",
      BigInt64Array.from({ length: 20 }, (_, i) => BigInt((i * 3) % 64)),
      [2, 10],
    );
    const batch = { input_ids: ids, labels: ids };
    const train = (options: Pick<TrainAdapterOptions, "model" | "adapter">) =>
      trainAdapter({
        ...options,
        runtime,
        checkpoint: base.checkpoint,
        batches: () => Array.from({ length: 8 }, () => batch),
        learningRate: 5e-2,
        evaluation: { batches: () => [batch] },
      });
    const targets = ["input_layernorm", "post_attention_layernorm", "norm"];
    const training = await train({ model: graph, adapter: { method: lnTuning, targets } });
    expect(training.attachment.adapters[0].modules.size).toBe(5);
    const { loss: before } = await training.evaluate();
    await training.finish();
    const { loss: trained } = await training.evaluate();
    expect(trained).toBeLessThan(before - 0.3);
    const { config, weights } = await training.files();
    const files = fileSetFromMap(
      new Map([
        ["adapter_config.json", new TextEncoder().encode(config)],
        ["adapter_model.safetensors", weights],
      ]),
      "norms",
    );
    await training.close();
    const checkpoint = await openFolded(base.checkpoint, base.config ?? {}, [files]);
    const { model: folded } = await buildModel({ ...base, checkpoint }, "text-generation", { fuse: "none" });
    const again = await train({ model: folded, adapter: { method: lora } });
    expect((await again.evaluate()).loss).toBeCloseTo(trained, 5);
    await again.close();
    await runtime.close();
    await base.close();
  });
});
