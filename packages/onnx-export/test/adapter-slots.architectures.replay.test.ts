import { join } from "node:path";
import { type FoldBase, openAdapter } from "@loomweight/adapters";
import { fileSetFromMap, writeSafetensors } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases } from "@loomweight/fixtures";
import { encodeOnnx } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type AdapterSlots, createAdapterSession, planExport } from "../src/index.ts";
import { sampleInputs } from "../src/sample-inputs.ts";
import { foldedFolder, relativeDifference, values, withGraph } from "./slots-small.ts";

const area = fixtureArea("architectures") ?? "";
const cases = fixtureCases("architectures", { marker: "config.json" });

/** An adapter of rank 2 for every slot, in PEFT's layout. */
async function adapterFor(slots: AdapterSlots, dora: boolean) {
  const tensors = new Map<string, Tensor>();
  for (const [path, slot] of Object.entries(slots.modules)) {
    const prefix = `base_model.model.${path}`;
    tensors.set(`${prefix}.lora_A.weight`, values(`${path} A`, [2, slot.in], 0.2));
    tensors.set(`${prefix}.lora_B.weight`, values(`${path} B`, [slot.out, 2], 0.2));
    if (!dora) continue;
    const magnitude = values(`${path} m`, [slot.out], 0.1);
    tensors.set(`${prefix}.lora_magnitude_vector`, { ...magnitude, data: magnitude.data.map((each) => 0.5 + each) });
  }
  const config = { peft_type: "LORA", r: 2, lora_alpha: 2, use_dora: dora, target_modules: Object.keys(slots.modules) };
  const files = new Map([
    ["adapter_config.json", new TextEncoder().encode(JSON.stringify(config))],
    ["adapter_model.safetensors", writeSafetensors(tensors)],
  ]);
  return openAdapter(fileSetFromMap(files, "adapter"));
}

describe.skipIf(cases.length === 0)("slots of every family give what the folded model gives", () => {
  test.each(cases)("%s", { timeout: 120_000 }, async (name) => {
    const folder = await openModel(join(area, name));
    const config = folder.config ?? {};
    const plan = await planExport(folder, { dtypes: ["fp32"], adapterSlots: true });
    const slots = plan.slots as AdapterSlots;
    const adapter = await adapterFor(slots, name.length % 2 === 0);
    const base: FoldBase = folder;
    const folded = await planExport(foldedFolder(folder, [adapter]), { dtypes: ["fp32"] });
    const plain = await planExport(folder, { dtypes: ["fp32"] });
    for (const [i, { graph, model }] of plan.graphs.entries()) {
      const run = async (bytes: Uint8Array, choice?: string) =>
        withGraph(bytes, async (raw) => {
          const { feeds } = sampleInputs(raw.inputs, config);
          if (choice === undefined) return raw.run(feeds);
          const session = createAdapterSession(raw, slots, { graph });
          await session.load("all", adapter, { base });
          if (choice === "all") session.use("all");
          const own = session.inputs.map((each) => [each.name, feeds[each.name]]);
          return session.run(Object.fromEntries(own));
        });
      const bytes = await encodeOnnx(model);
      const expected = await run(await encodeOnnx(folded.graphs[i].model));
      const adapted = await run(bytes, "all");
      for (const [output, tensor] of Object.entries(expected)) {
        if (tensor.dtype !== "float32" || tensor.data.length === 0) continue;
        const difference = relativeDifference(adapted[output].data as Float32Array, tensor.data as Float32Array);
        expect(difference, `${graph} ${output}`).toBeLessThanOrEqual(1e-4);
      }
      const untouched = await run(bytes, "none");
      for (const [output, tensor] of Object.entries(await run(await encodeOnnx(plain.graphs[i].model)))) {
        if (tensor.dtype !== "float32" || tensor.data.length === 0) continue;
        // where onnxruntime fuses a bias into what follows the product, the last bit may differ
        const difference = relativeDifference(untouched[output].data as Float32Array, tensor.data as Float32Array);
        expect(difference, `${graph} ${output} without an adapter`).toBeLessThanOrEqual(1e-6);
      }
    }
    await folder.close();
  });
});
