import { openCheckpointFromFiles, writeSafetensors } from "@loomweight/checkpoint";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { mergedCheckpoint } from "./merged-checkpoint.ts";
import { linear } from "./methods/linear.ts";
import { passthrough } from "./methods/passthrough.ts";
import { planMerge } from "./plan/plan-merge.ts";
import { parseRecipe } from "./recipe/recipe.ts";

const rows = 300;
const columns = 70; // 21000 elements: three blocks, the last one short

async function models() {
  const of = async (scale: number) => {
    const values = Float32Array.from({ length: rows * columns }, (_, i) => scale * i);
    const tensors = new Map<string, Tensor>([["a.weight", fromData("float32", values, [rows, columns])]]);
    const bytes = await writeSafetensors(tensors);
    const checkpoint = await openCheckpointFromFiles(new Map([["model.safetensors", bytes]]));
    return { location: "memory", checkpoint, config: undefined };
  };
  return new Map([
    ["x", await of(1)],
    ["y", await of(3)],
  ]);
}

async function average() {
  const recipe = parseRecipe(
    {
      merge_method: "linear",
      models: [
        { model: "x", parameters: { weight: 1 } },
        { model: "y", parameters: { weight: 1 } },
      ],
    },
    { methods: [linear] },
  );
  const opened = await models();
  const plan = planMerge(recipe, opened);
  const checkpoints = [...opened.values()].map(({ checkpoint }) => checkpoint);
  return mergedCheckpoint(plan, linear, checkpoints, "average");
}

test("any range of bytes is that of the whole", async () => {
  const checkpoint = await average();
  const whole = await checkpoint.readBytes("a.weight");
  expect(whole.length).toBe(rows * columns * 4);
  const values = new Float32Array(whole.buffer.slice(0));
  expect([values[0], values[1], values[rows * columns - 1]]).toEqual([0, 2, 2 * (rows * columns - 1)]);
  const ranges = [
    [0, 4],
    [3, 9],
    [32760, 32780],
    [65535, 65537],
    [whole.length - 3, whole.length],
    [100, 100],
  ];
  // All at once: reads of one tensor share what is open.
  await Promise.all(
    ranges.map(async ([start, end]) => {
      const part = await checkpoint.readBytes("a.weight", { start, end });
      expect([...part]).toEqual([...whole.subarray(start, end)]);
    }),
  );
  const row = await checkpoint.read("a.weight", { range: { start: columns, end: 2 * columns } });
  expect(row.shape).toEqual([columns]);
  expect((row.data as Float32Array)[1]).toBe(2 * (columns + 1));
});

test("more tensors than are kept open can be read at once, and unknown ones are refused", async () => {
  const tensors = new Map(
    Array.from({ length: 9 }, (_, i): [string, Tensor] => [`t${i}`, fromData("float32", Float32Array.of(i + 1), [1])]),
  );
  const bytes = await writeSafetensors(tensors);
  const opened = await openCheckpointFromFiles(new Map([["model.safetensors", bytes]]));
  const recipe = parseRecipe(
    { merge_method: "passthrough", models: [{ model: "x", parameters: { scale: 2 } }] },
    { methods: [passthrough] },
  );
  const plan = planMerge(recipe, new Map([["x", { location: "x", checkpoint: opened, config: undefined }]]));
  const checkpoint = mergedCheckpoint(plan, passthrough, [opened], "doubled");
  const found = await Promise.all([...tensors.keys()].map((name) => checkpoint.read(name)));
  expect(found.map(({ data }) => (data as Float32Array)[0])).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18]);
  await expect(checkpoint.readBytes("t10")).rejects.toThrow(/unknown tensor "t10"/);
});
