import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapterFolder, float32, foldSmall, smallModel } from "./small.ts";

/** Milliseconds that opening takes, whatever comes of it. */
async function timed(
  config: Record<string, unknown>,
  modules: number,
  path = (index: number) => `model.layers.${index}.proj`,
): Promise<{ milliseconds: number; code: string }> {
  const tensors = new Map<string, Tensor>();
  for (let index = 0; index < modules; index++) {
    tensors.set(`base_model.model.${path(index)}.lora_A.weight`, float32([1], [1, 1]));
    tensors.set(`base_model.model.${path(index)}.lora_B.weight`, float32([1], [1, 1]));
  }
  const folder = adapterFolder(
    { peft_type: "LORA", r: 1, lora_alpha: 1, target_modules: ["proj"], ...config },
    tensors,
  );
  const begin = performance.now();
  const code = await foldSmall(smallModel(), [folder]).then(
    () => "opened",
    (error: unknown) => {
      if (!(error instanceof LoomweightError)) throw error;
      return error.code;
    },
  );
  return { milliseconds: performance.now() - begin, code };
}

const many = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

// Bounds are generous: what they catch would take minutes or for ever.
test.each([
  [
    "five thousand modules and as many target names",
    { target_modules: ["proj", ...many(5_000, (i) => `name${i}`)] },
    5_000,
  ],
  [
    "twenty thousand rank patterns",
    { rank_pattern: Object.fromEntries(many(20_000, (i) => [`layers.${i}.proj`, 1])) },
    5_000,
  ],
  [
    "a thousand patterns that backtrack",
    { alpha_pattern: Object.fromEntries(many(1_000, (i) => [`(.*)*(.*)*x${i}`, 1])) },
    2_000,
  ],
  ["a target pattern that backtracks", { target_modules: "(.*)*(.*)*(.*)*proj" }, 5_000],
  ["a hundred thousand saved modules", { modules_to_save: many(100_000, (i) => `m${i}`) }, 10],
  ["three thousand layers to transform", { layers_to_transform: many(3_000, (i) => i) }, 3_000],
])("%s are answered in bounded time", async (_, config, modules) => {
  const { milliseconds, code } = await timed(config as Record<string, unknown>, modules);
  expect(["UNKNOWN_TENSOR", "PATTERN_TOO_COMPLEX", "INVALID_OPTION"]).toContain(code);
  expect(milliseconds).toBeLessThan(25_000);
});

test("a path of a hundred thousand characters does not hang a pattern", async () => {
  const { milliseconds, code } = await timed(
    { target_modules: "(a|a)*.*proj" },
    3,
    (index) => `${"a".repeat(100_000)}${index}.proj`,
  );
  expect(["UNKNOWN_TENSOR", "PATTERN_TOO_COMPLEX"]).toContain(code);
  expect(milliseconds).toBeLessThan(25_000);
});
