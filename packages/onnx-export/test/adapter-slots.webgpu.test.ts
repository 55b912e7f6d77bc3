import { existsSync } from "node:fs";
import { openSession } from "@loomweight/graph/node";
import { describe, expect, test } from "vitest";
import { type AdapterSlots, createAdapterSession } from "../src/index.ts";
import { exportedGraph, logitsOf, relativeDifference, smallAdapter, smallLlama } from "./slots-small.ts";

// Debian's Chromium brings a software driver
const given = process.env.VK_ICD_FILENAMES;
const driver = given !== undefined && existsSync(given) ? given : "/usr/lib/chromium/vk_swiftshader_icd.json";

const wanted = process.env.LOOMWEIGHT_SLOTS_WEBGPU === "1";

describe.skipIf(!wanted || !existsSync(driver))("slots on WebGPU (LOOMWEIGHT_SLOTS_WEBGPU=1: slow by software)", () => {
  Object.assign(process.env, { VK_ICD_FILENAMES: driver, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? "/tmp" });
  test.each(["single", "rows"] as const)(
    "give what the CPU gives and leave nothing to it, layout %s",
    { timeout: 120_000 },
    async (layout) => {
      const folder = await smallLlama();
      const options = { dtypes: ["fp32"], adapterSlots: { layout }, devices: ["webgpu"] } as const;
      const { bytes, slots } = await exportedGraph(folder, options);
      const results: Float32Array[][] = [];
      const sessionOptions = { extra: { session: { disable_cpu_ep_fallback: "1" } } };
      for (const way of [{}, { providers: ["webgpu"], sessionOptions }]) {
        const session = createAdapterSession(await openSession(bytes, way), slots as AdapterSlots);
        await session.load("lora", await smallAdapter("lora"));
        await session.load("dora", await smallAdapter("dora", { dora: true }), { base: folder });
        const made: Float32Array[] = [];
        for (const choice of [undefined, "lora", "dora"]) {
          session.use(choice);
          made.push(await logitsOf(session));
        }
        results.push(made);
        await session.close();
      }
      const [onCpu, onWebgpu] = results;
      expect(relativeDifference(onCpu[1], onCpu[0])).toBeGreaterThan(0.1);
      for (const [i, expected] of onCpu.entries()) {
        expect(relativeDifference(onWebgpu[i], expected)).toBeLessThanOrEqual(1e-4);
      }
    },
  );
});
