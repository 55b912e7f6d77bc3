import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSession } from "@loomweight/graph/node";
import { zeros } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { digits } from "./digits.ts";
import { fineTuneOnnx } from "./fine-tune-onnx.ts";
import { searchDigits } from "./search-digits.ts";
import { shakespeare } from "./shakespeare.ts";
import { rewardsOf, threeRewards } from "./three-rewards.ts";

const quiet = { log: () => {} };

test("digits are read after one pass over 8,000", { timeout: 300_000 }, async () => {
  expect(await digits({ ...quiet, epochs: 1 })).toBeGreaterThan(0.95);
});

test("the loss on Shakespeare falls as PyTorch's does from the same weights and batches", {
  timeout: 300_000,
}, async () => {
  const recorded = JSON.parse(readFileSync(new URL("recorded/shakespeare-torch.json", import.meta.url), "utf8")) as {
    losses: number[];
  };
  const { losses, text } = await shakespeare({ ...quiet, steps: 20, write: 5 });
  // Float32 sums in another order drift apart slowly: 1e-6 at first, within 1e-3 over 20 steps of Adam.
  for (const [step, loss] of losses.entries())
    expect(Math.abs(loss - recorded.losses[step]), `step ${step}`).toBeLessThan(1e-3);
  expect(text).toHaveLength("ROMEO:\n".length + 5);
});

test("an ONNX file learns inverted digits and is an ONNX file again", { timeout: 300_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "loomweight-example-"));
  const to = join(folder, "fine-tuned.onnx");
  const { before, after } = await fineTuneOnnx({ ...quiet, to, steps: 40 });
  expect(before).toBeLessThan(0.1);
  expect(after).toBeGreaterThan(0.35);
  expect(existsSync(to)).toBe(true);
  const session = await openSession(to);
  const { logits } = await session.run({ pixel_values: zeros([2, 1, 28, 28]) });
  expect(logits.shape).toEqual([2, 10]);
  await session.close();
  rmSync(folder, { recursive: true });
});

test("a language model is paid by three rewards, whose weights move", { timeout: 300_000 }, async () => {
  expect(rewardsOf("and so.\nwe go")).toEqual([1, 1, 1]);
  expect(rewardsOf("And so we go on and on and on and on")).toEqual([0, 0, 0]);
  const [first, second] = await threeRewards({ ...quiet, steps: 2 });
  // Capital letters are what plays are full of.
  expect(first.rewards[0]).toBeLessThan(0.2);
  expect(first.weights.every((weight, k) => weight !== second.weights[k])).toBe(true);
  expect(second.weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
});

test("a search finds a smaller network, which reads digits as cut out and is an ONNX file", {
  timeout: 300_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "loomweight-example-"));
  const to = join(folder, "digits.onnx");
  const { parameters, inherited, share } = await searchDigits({ ...quiet, to, epochs: 1, tuning: 30 });
  expect(parameters).toBeLessThan(16_000); // of 19,306
  expect(inherited).toBeGreaterThan(0.7);
  expect(share).toBeGreaterThan(Math.max(0.85, inherited - 0.02));
  const session = await openSession(to);
  const { logits } = await session.run({ pixels: zeros([3, 1, 28, 28]) });
  expect(logits.shape).toEqual([3, 10]);
  await session.close();
  rmSync(folder, { recursive: true });
});
