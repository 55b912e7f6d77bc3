import { join } from "node:path";
import { lora } from "@loomweight/adapters";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { matMul, type Runtime, transpose } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { cast, contiguousData, type Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cordaStart, type DataStart, type DataStartOptions, evaStart, loraGaStart } from "../src/index.ts";

// Starts that look at data, run on the whole model with the recorded batch, against what PEFT made of it.

interface Expected {
  readonly base: string;
  readonly call: string;
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
  readonly scaling: Readonly<Record<string, number>>;
}
type Start = (name: string, call: string, options: DataStartOptions) => Promise<DataStart>;

/** What starts from data, by the first letters of its case, with the README's tolerance. */
const starts: readonly (readonly [string, Start, number])[] = [
  ["eva", (_, call, options) => evaStart({ ...options, rho: Number(/rho=([\d.]+)/.exec(call)?.[1]) }), 2e-2],
  ["corda", (name, _, options) => cordaStart({ ...options, mode: name.endsWith("kpm") ? "kpm" : "ipm" }), 5e-4],
  ["lora_ga", (name, _, options) => loraGaStart({ ...options, direction: name.slice(8) as "ArBr" }), 2e-5],
];

const area = fixtureArea("peft") ?? "";
const names = fixtureCases("peft", { within: "init" }).filter((name) =>
  starts.some(([start]) => name.startsWith(start)),
);
const absent = "(no recorded cases here)";
let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

test.for(names.length > 0 ? names : [absent])("%s, from the model and its batch", async (name, context) => {
  if (name === absent) context.skip("../shared/fixtures/peft/init is not here");
  const folder = join(area, "init", name);
  const expected = readFixtureJson<Expected>(join(folder, "expected.json"));
  const recorded = readFixtureTensors(join(folder, "expected.safetensors"));
  const base = await openModel(join(area, expected.base));
  const { model } = await buildModel(base, "text-generation", { fuse: "none" });
  const ids = readFixtureTensors(join(area, expected.base, "inputs.safetensors")).get("input_ids") as Tensor;
  const input_ids = cast(ids, "int64");
  const [, start, tolerance] = starts.find(([first]) => name.startsWith(first)) as (typeof starts)[number];
  const number = (option: string) => Number(new RegExp(`${option}=(\\d+)`).exec(expected.call)?.[1]);
  const targets = JSON.parse((/target_modules=(\[[^\]]*\])/.exec(expected.call)?.[1] ?? "").replaceAll("'", '"'));
  // CorDA's samples are looked at one by one.
  const rows = name.startsWith("corda") ? [0, 1].map((row) => rowOf(input_ids, row)) : [input_ids];
  const found = await start(name, expected.call, {
    runtime,
    model,
    checkpoint: base.checkpoint,
    adapter: { method: lora, options: { rank: number("r"), alpha: number("lora_alpha") }, targets },
    batches: () => rows.map((row) => ({ input_ids: row, labels: row })),
  });
  if (name.startsWith("eva")) {
    const { rank = {}, alpha = {} } = found.adapter.patterns ?? {};
    expect([rank, alpha]).toEqual([expected.rank_pattern, expected.alpha_pattern]);
  }
  let compared = 0;
  for (const path of Object.keys(expected.scaling)) {
    const { A = undefined, B = undefined, components = A } = found.statistics(path) ?? {};
    const values: Record<string, Tensor | undefined> = {
      [`AtA/${path}`]: components && (matMul(turned(components), components) as Tensor),
      [`BBt/${path}`]: B && (matMul(B, turned(B)) as Tensor),
      [`product/${path}.weight`]:
        A && B && !name.startsWith("lora_ga") ? (matMul(scaled(B, expected.scaling[path]), A) as Tensor) : undefined,
    };
    for (const [key, value] of Object.entries(values)) {
      const record = recorded.get(key);
      if (value === undefined || record === undefined) continue;
      expect([key, worst(value, record) <= tolerance ? "close" : worst(value, record)]).toEqual([key, "close"]);
      compared++;
    }
  }
  await base.checkpoint.close();
  expect(compared).toBeGreaterThanOrEqual(Object.keys(expected.scaling).length);
});

function rowOf(ids: Tensor<"int64">, row: number): Tensor<"int64"> {
  const length = ids.shape[1];
  return { ...ids, shape: [1, length], offset: ids.offset + row * ids.stride[0] };
}

const turned = (matrix: Tensor) => transpose(matrix, [1, 0]) as Tensor;
const scaled = (matrix: Tensor, by: number) => ({
  ...cast(matrix, "float64"),
  data: Float64Array.from(cast(matrix, "float64").data as Float64Array, (value) => value * by),
});

function worst(found: Tensor, recorded: Tensor): number {
  expect(found.shape).toEqual(recorded.shape);
  const [a, b] = [found, recorded].map((tensor) => contiguousData(cast(tensor, "float32")) as Float32Array);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}
