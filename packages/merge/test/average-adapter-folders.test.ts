import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { writeSafetensors } from "@loomweight/checkpoint";
import { tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, expect, test } from "vitest";
import { averageAdapterFolders } from "../src/node/index.ts";

const root = mkdtempSync(join(tmpdir(), "loomweight-mwa-"));
afterAll(() => rmSync(root, { recursive: true }));

const prefix = "base_model.model.layer.";
async function checkpoint(name: string, value: number, options: { step?: number; loss?: number; rank?: number } = {}) {
  const folder = join(root, name);
  const { step, loss = 1, rank = 1 } = options;
  await mkdir(folder, { recursive: true });
  const config = { peft_type: "LORA", r: rank, lora_alpha: 2, target_modules: ["layer"], task_type: "CAUSAL_LM" };
  await writeFile(join(folder, "adapter_config.json"), JSON.stringify(config));
  const weights = writeSafetensors(
    new Map([
      [`${prefix}lora_A.weight`, tensor(Array(3 * rank).fill(value), [rank, 3])],
      [`${prefix}lora_B.weight`, tensor(Array(2 * rank).fill(2 * value), [2, rank])],
    ]),
  );
  await writeFile(join(folder, "adapter_model.safetensors"), weights);
  if (step !== undefined) {
    const state = { global_step: step, log_history: [{ step, loss }] };
    await writeFile(join(folder, "trainer_state.json"), JSON.stringify(state));
  }
  return folder;
}

test("folders of a run are weighed by what their trainer logged, and give a PEFT folder", async () => {
  const folders = [
    await checkpoint("checkpoint-100", 1, { step: 100, loss: 0.9 }),
    await checkpoint("checkpoint-200", 2, { step: 200, loss: 0.6 }),
    await checkpoint("checkpoint-300", 4, { step: 300, loss: 0.5 }),
  ];
  const out = join(root, "by-loss");
  const { weights, values } = await averageAdapterFolders(folders, out);
  expect(values).toEqual([0.9, 0.6, 0.5]);
  expect(weights[2]).toBeCloseTo(0.418605, 6);
  const adapter = await openAdapterFolder(out);
  const factor = toFloat64(await adapter.checkpoint.read(`${prefix}lora_A.weight`));
  await adapter.checkpoint.close();
  expect(factor[0]).toBeCloseTo(0.232558 + 2 * 0.348837 + 4 * 0.418605, 5);
  expect(await readFile(join(out, "README.md"), "utf8")).toContain("| checkpoint-300 | 0.5 | 0.418605 |");
  const steps = await averageAdapterFolders(folders, join(root, "by-step"), { metric: "step" });
  expect(steps.weights[0]).toBeCloseTo(1 / 6, 12);
  await expect(averageAdapterFolders(folders, out)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
});

test("what cannot be averaged is refused by name, and nothing is written", async () => {
  const first = await checkpoint("a", 1, { step: 1 });
  const other = await checkpoint("b", 1, { step: 2, rank: 2 });
  const silent = await checkpoint("c", 1);
  const out = join(root, "nothing");
  await expect(averageAdapterFolders([first, other], out)).rejects.toMatchObject({
    code: "ADAPTER_MISMATCH",
    message: expect.stringMatching(/configured differently.*as in/),
  });
  await expect(averageAdapterFolders([first, silent], out)).rejects.toMatchObject({ code: "MISSING_FILE" });
  await expect(averageAdapterFolders([first], out, { values: [1, 2] })).rejects.toMatchObject({
    code: "INVALID_OPTION",
  });
  await expect(averageAdapterFolders([first], out, { metric: { higherIsBetter: true } })).rejects.toMatchObject({
    code: "MISSING_METRIC",
  });
  await expect(openAdapterFolder(out)).rejects.toThrow();
});
