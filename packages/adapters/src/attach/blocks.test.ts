import {
  add,
  assemble,
  gelu,
  gradient,
  importOnnx,
  input,
  layerNormalization,
  lazyTensor,
  named,
  type OnnxModel,
  parameter,
  relu,
  type Value,
} from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { evaluate } from "@loomweight/graph/node";
import { fromData, full, type Tensor } from "@loomweight/tensor";
import { beforeAll, expect, test } from "vitest";
import { largest } from "../../test/block-contract.ts";
import { testRandom } from "../../test/contract.ts";
import { adapterTune } from "../methods/adaptertune.ts";
import { adaptFormer } from "../methods/adaptformer.ts";
import { hyperformer } from "../methods/hyperformer.ts";
import { tauGate } from "../methods/taugate.ts";
import { vlAdapter } from "../methods/vl-adapter.ts";
import { blockAdapterFiles, readBlockAdapter } from "./block-files.ts";
import { attachBlocks, type BlockAttachment, findBlock } from "./blocks.ts";

const [width, hidden] = [6, 10];
const weight = (name: string, shape: number[]) =>
  parameter(name, lazyTensor(testRandom().uniform(name, shape, -0.5, 0.5)));

/** Two pre-norm blocks with an MLP each. */
function twoBlocks(): OnnxModel {
  const x = input("x", "float32", [4, width]);
  let h: Value = x;
  for (let i = 0; i < 2; i++) {
    h = named(`blocks.${i}`, () => {
      const ones = parameter(`blocks.${i}.norm.weight`, lazyTensor(full([width], 1)));
      const u = named("norm", () => layerNormalization(h, ones, undefined, { epsilon: 1e-6, axis: -1 }));
      const m = named("mlp", () => {
        const z = named("fc1", () =>
          linearOf(u, weight(`blocks.${i}.fc1.weight`, [hidden, width]), weight(`blocks.${i}.fc1.bias`, [hidden])),
        );
        const a = named("act", () => (i === 0 ? relu(z) : gelu(z)));
        return named("fc2", () =>
          linearOf(a, weight(`blocks.${i}.fc2.weight`, [width, hidden]), weight(`blocks.${i}.fc2.bias`, [width])),
        );
      });
      return add(h, m);
    });
  }
  return assemble({ name: "two blocks", inputs: [x], outputs: { y: h } });
}

const x = testRandom().uniform("x", [4, width], -1, 1);
let model: OnnxModel;
let base: Tensor;
const run = async (
  attachment: BlockAttachment,
  adapter: Record<string, Tensor> = {},
  feeds: Record<string, Tensor> = {},
) => (await evaluate(attachment.instantiate({ adapter }).outputs, { x, ...feeds })).y;
const moved = ({ parameters }: BlockAttachment) =>
  Object.fromEntries(
    Object.entries(parameters).map(([name, { shape }]) => [name, testRandom().uniform(name, shape, -0.5, 0.5)]),
  );

beforeAll(async () => {
  model = twoBlocks();
  base = (
    await evaluate(
      { y: (await attachBlocks(model, { method: adapterTune, sites: ["blocks.1"] })).instantiate().outputs.y },
      { x },
    )
  ).y;
});

test("a module is found by the scopes of its nodes, with what it is added to", async () => {
  const imported = await importOnnx(model);
  const mlp = findBlock(imported, "blocks.1.mlp");
  expect(mlp.residual).toBeDefined();
  expect(mlp.input).not.toBe(mlp.residual);
  expect(findBlock(imported, "blocks.1").input).toBe(mlp.residual);
  expect(findBlock(imported, "blocks.0").input).toBe("x");
  expect(() => findBlock(imported, "blocks.1.mpl")).toThrow(/blocks\.1\.mlp/);
});

test.each([
  [
    "AdaptFormer beside MLPs",
    { method: adaptFormer, options: { bottleneck: 3 }, sites: ["blocks.0.mlp", "blocks.1.mlp"] },
  ],
  ["AdapterTune behind blocks", { method: adapterTune, options: { rank: 2 }, sites: ["blocks.0", "blocks.1"] }],
  [
    "VL-Adapter behind MLPs",
    { method: vlAdapter, options: { reductionFactor: 2 }, sites: ["blocks.0.mlp", "blocks.1.mlp"] },
  ],
])("%s: fresh the base, then another function that trains", async (_what, spec) => {
  const attachment = await attachBlocks(model, spec);
  expect(largest(await run(attachment), base)).toBe(0);
  const adapter = moved(attachment);
  const changed = await run(attachment, adapter);
  expect(largest(changed, base)).toBeGreaterThan(1e-3);
  const values = Object.fromEntries(
    Object.entries(adapter).map(([name, { shape }]) => [name, input(name, "float32", shape)]),
  );
  const { y } = attachment.instantiate({ adapter: values }).outputs;
  const upstream = full([4, width], 1);
  const slopesByName = Object.entries(gradient(y, values, { upstream })).map(
    ([name, slope]) => [`d ${name}`, slope] as const,
  );
  const slopes = await evaluate({ y, ...Object.fromEntries(slopesByName) }, { x, ...adapter });
  for (const name of Object.keys(adapter))
    expect([name, largest(slopes[`d ${name}`], full(slopes[`d ${name}`].shape, 0)) > 0]).toEqual([name, true]);
});

test("what is attached is the method on the values around the module", async () => {
  const attachment = await attachBlocks(model, {
    method: adaptFormer,
    options: { bottleneck: 3, scale: 0.5 },
    sites: ["blocks.1.mlp"],
  });
  const [site] = attachment.sites;
  const adapter = moved(attachment);
  const plain = attachment.instantiate({ adapter: attachment.parameters });
  const around = await evaluate(
    {
      input: plain.value(site.input),
      output: plain.value(site.output),
      residual: plain.value(site.residual as string),
    },
    { x },
  );
  const params = Object.fromEntries(
    Object.entries(adapter).map(([name, value]) => [name.replace("blocks.1.mlp.", ""), value]),
  );
  const options = {
    bottleneck: 3,
    scale: 0.5,
    learnableScale: false,
    placement: "parallel",
    input: "residual",
    outputNorm: false,
    dropout: 0.1,
  } as const;
  const expected = add(
    around.residual,
    adaptFormer.apply(
      { ...site, input: around.input, output: around.output, residual: around.residual },
      params,
      options,
    ),
  ) as Tensor;
  expect(largest(await run(attachment, adapter), expected)).toBeLessThan(1e-5);
});

test("gates sit on activations; a task's number is an input of the adapted model", async () => {
  const gates = await attachBlocks(model, { method: tauGate, options: { hard: true }, sites: ["blocks.0.mlp.act"] });
  expect(gates.sites[0]).toMatchObject({ in: hidden, out: hidden });
  expect(largest(await run(gates), base)).toBe(0);
  const tasks = await attachBlocks(model, {
    method: hyperformer,
    options: { reductionFactor: 2, tasks: 2, layers: 2, embedding: 3, hidden: 4, projected: 2 },
    sites: ["blocks.0.mlp", "blocks.1.mlp"],
  });
  expect(Object.keys(tasks.instantiate().inputs)).toEqual(["x", "task"]);
  const adapter = moved(tasks);
  const number = (task: number) => ({ task: fromData("int64", BigInt64Array.of(BigInt(task)), []) });
  expect(largest(await run(tasks, tasks.parameters as Record<string, Tensor>, number(1)), base)).toBe(0);
  expect(largest(await run(tasks, adapter, number(0)), await run(tasks, adapter, number(1)))).toBeGreaterThan(1e-6);
});

test("sites by the names of their values; what does not fit is named", async () => {
  const found = findBlock(await importOnnx(model), "blocks.0.mlp");
  const attachment = await attachBlocks(model, { method: adaptFormer, sites: [{ ...found, path: "mine" }] });
  expect(Object.keys(attachment.parameters)).toEqual(["mine.down", "mine.downBias", "mine.up", "mine.upBias"]);
  await expect(attachBlocks(model, { method: adaptFormer, sites: [] })).rejects.toThrow(/no site/);
  await expect(attachBlocks(model, { method: adaptFormer, sites: ["blocks.0.mlp.fc1"] })).rejects.toThrow(/as wide/);
  await expect(
    attachBlocks(model, { method: adaptFormer, sites: [{ path: "m", input: "nowhere", output: "y" }] }),
  ).rejects.toThrow(/nowhere/);
  expect(() => attachment.instantiate({ adapter: { "mine.dwon": full([1], 0) } })).toThrow(/mine\.down/);
});

test("files hold method, options, sites and tensors; what does not fit is refused", async () => {
  const attachment = await attachBlocks(model, {
    method: adaptFormer,
    options: { bottleneck: 3, scale: 0.5 },
    sites: ["blocks.0.mlp", "blocks.1.mlp"],
  });
  const adapter = moved(attachment);
  const files = blockAdapterFiles(attachment, adapter);
  const read = await readBlockAdapter(files);
  const again = await attachBlocks(model, read);
  expect(largest(await run(again), await run(attachment, adapter))).toBe(0);
  expect(blockAdapterFiles(again)).toEqual(files);
  const config = JSON.parse(files.config);
  const changed = (change: object) => readBlockAdapter({ ...files, config: JSON.stringify({ ...config, ...change }) });
  await expect(changed({ adapter_type: "adapterformer" })).rejects.toThrow(/adaptformer/);
  await expect(changed({ options: { ...config.options, bottleneck: 0 } })).rejects.toThrow(/bottleneck/);
  await expect(changed({ options: { ...config.options, bottlneck: 3 } })).rejects.toThrow(/bottleneck/);
  await expect(changed({ sites: [] })).rejects.toThrow(/sites/);
  await expect(attachBlocks(model, await changed({ options: { ...config.options, bottleneck: 4 } }))).rejects.toThrow(
    /\[4,6\]/,
  );
  await expect(attachBlocks(model, await changed({ sites: config.sites.slice(0, 1) }))).rejects.toThrow(
    /blocks\.1\.mlp/,
  );
  const bad = { ...adapter, "blocks.0.mlp.upBias": full([width], Number.NaN) };
  await expect(readBlockAdapter(blockAdapterFiles(attachment, bad))).rejects.toThrow(/NaN/);
});
