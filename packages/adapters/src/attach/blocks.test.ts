import { fileSetFromMap } from "@loomweight/checkpoint";
import { add, gradient, importOnnx, input, instantiate, type OnnxModel } from "@loomweight/graph";
import { evaluate } from "@loomweight/graph/node";
import { fromData, full, type Tensor } from "@loomweight/tensor";
import { beforeAll, expect, test } from "vitest";
import { largest } from "../../test/block-contract.ts";
import { testRandom } from "../../test/contract.ts";
import { hidden, twoBlocks, width } from "../../test/two-blocks.ts";
import { adapterTune } from "../methods/adaptertune.ts";
import { adaptFormer } from "../methods/adaptformer.ts";
import { hyperformer } from "../methods/hyperformer.ts";
import { lora } from "../methods/lora.ts";
import { tauGate } from "../methods/taugate.ts";
import { vlAdapter } from "../methods/vl-adapter.ts";
import { openAdapter } from "../peft/read-adapter.ts";
import { type Attachment, attach } from "./attach.ts";
import { openAnyAdapter, openBlockAdapter } from "./block-files.ts";
import { findBlock } from "./block-sites.ts";
import type { BlockAdapterSpec } from "./blocks.ts";
import { attachedFiles } from "./files.ts";
import { attachedModel } from "./model.ts";

const x = testRandom().uniform("x", [4, width], -1, 1);
let model: OnnxModel;
let base: Tensor;
const run = async (
  attachment: Attachment,
  parameters: Record<string, Tensor> = {},
  feeds: Record<string, Tensor> = {},
) => (await evaluate(attachment.instantiate({ parameters }).outputs, { x, ...feeds })).y;
const attachBlocks = (to: OnnxModel, spec: BlockAdapterSpec) => attach(to, undefined, spec);
const moved = ({ parameters }: Attachment) =>
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
  const { y } = attachment.instantiate({ parameters: values }).outputs;
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
  const [site] = attachment.blocks[0].sites;
  const adapter = moved(attachment);
  const plain = attachment.instantiate({ parameters: attachment.parameters });
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
  expect(gates.blocks[0].sites[0]).toMatchObject({ in: hidden, out: hidden });
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
  await expect(attachBlocks(model, { method: adaptFormer, sites: [] })).rejects.toThrow(/no node/);
  await expect(attachBlocks(model, { method: adaptFormer, sites: ["blocks.0.mlp.fc1"] })).rejects.toThrow(/as wide/);
  await expect(
    attachBlocks(model, { method: adaptFormer, sites: [{ path: "m", input: "nowhere", output: "y" }] }),
  ).rejects.toThrow(/nowhere/);
  expect(() => attachment.instantiate({ parameters: { "mine.dwon": full([1], 0) } })).toThrow(/mine\.down/);
});

const folder = (files: { config: string; weights: Uint8Array<ArrayBuffer> }) =>
  fileSetFromMap(
    new Map([
      ["adapter_config.json", new TextEncoder().encode(files.config)],
      ["adapter_model.safetensors", files.weights],
    ]),
    "blocks",
  );

test("targets mean what they mean for layers: names, ends of paths, patterns, exclusions", async () => {
  const paths = async (spec: Omit<BlockAdapterSpec, "method">) =>
    (await attachBlocks(model, { method: adapterTune, ...spec })).blocks[0].sites.map(({ path }) => path);
  expect(await paths({ targets: ["mlp"] })).toEqual(["blocks.0.mlp", "blocks.1.mlp"]);
  expect(await paths({ targets: "blocks\\.\\d+" })).toEqual(["blocks.0", "blocks.1"]);
  expect(await paths({ targets: ["mlp"], exclude: ["blocks.0.mlp"] })).toEqual(["blocks.1.mlp"]);
  await expect(paths({ targets: ["mpl"] })).rejects.toThrow(/Did you mean "mlp"/);
  await expect(paths({ targets: ["mlp"], sites: ["blocks.0"] })).rejects.toThrow(/targets or sites/);
  await expect(paths({ sites: ["blocks.0", "blocks.0"] })).rejects.toThrow(/named twice/);
  await expect(paths({})).rejects.toThrow(/does not say which modules/);
  await expect(paths({ targets: "(a+)+$" })).rejects.toThrow();
});

test("a block and a module inside it have each their own parameters", async () => {
  const both = await attachBlocks(model, {
    method: adapterTune,
    options: { rank: 2 },
    sites: ["blocks.1.mlp", "blocks.1"],
  });
  expect(Object.keys(both.parameters)).toHaveLength(8);
  const inner = await attachBlocks(model, { method: adapterTune, options: { rank: 2 }, sites: ["blocks.1.mlp"] });
  const own = moved(inner);
  const zero = Object.fromEntries(Object.entries(both.parameters).map(([name, { shape }]) => [name, full(shape, 0)]));
  expect(largest(await run(both, { ...zero, ...own }), await run(inner, own))).toBeLessThan(1e-6);
});

test("with a LoRA and a head that is trained whole: each has its files, each can rest, all are one exported model", async () => {
  const lists = await attach(model, undefined, [
    { method: lora, name: "rows", options: { rank: 2 }, targets: ["fc1"] },
    { method: adapterTune, name: "blocks", options: { rank: 2 }, targets: ["mlp"], modulesToSave: ["norm"] },
  ]);
  const values = moved(lists);
  expect(Object.keys(values)).toContain("blocks:blocks.0.mlp.down");
  expect(Object.keys(values)).toContain("blocks:blocks.1.norm.weight");
  const all = await run(lists, values);
  const resting = async (active: readonly string[]) =>
    (await evaluate(lists.instantiate({ parameters: values, active }).outputs, { x })).y;
  expect(largest(await resting([]), base)).toBe(0);
  expect(largest(await resting(["blocks"]), all)).toBeGreaterThan(1e-4);
  const read = await openBlockAdapter(folder(attachedFiles(lists, { adapter: "blocks", parameters: values })));
  const again = await attach(model, undefined, read);
  expect(largest(await run(again), await resting(["blocks"]))).toBe(0);
  expect(JSON.parse(attachedFiles(lists, { adapter: "rows", parameters: values }).config).peft_type).toBe("LORA");
  const exported = await importOnnx(attachedModel(lists, { parameters: values }));
  expect(largest((await evaluate(instantiate(exported).outputs, { x })).y, all)).toBe(0);
  await expect(attach(model, undefined, { ...read, modulesToSave: [] })).rejects.toMatchObject({
    code: "UNKNOWN_TENSOR",
  });
});

test("files hold method, options, sites and tensors; what does not fit is refused", async () => {
  const attachment = await attachBlocks(model, {
    method: adaptFormer,
    options: { bottleneck: 3, scale: 0.5 },
    sites: ["blocks.0.mlp", "blocks.1.mlp"],
  });
  const adapter = moved(attachment);
  const files = attachedFiles(attachment, { parameters: adapter });
  const read = await openBlockAdapter(folder(files));
  const again = await attachBlocks(model, read);
  expect(largest(await run(again), await run(attachment, adapter))).toBe(0);
  expect(attachedFiles(again)).toEqual(files);
  expect(await openAnyAdapter(folder(files))).toEqual(read);
  const config = JSON.parse(files.config);
  const changed = (change: object) =>
    openBlockAdapter(folder({ ...files, config: JSON.stringify({ ...config, ...change }) }));
  await expect(changed({ adapter_type: "adapterformer" })).rejects.toThrow(/adaptformer/);
  await expect(changed({ options: { ...config.options, bottleneck: 0 } })).rejects.toThrow(/bottleneck/);
  await expect(changed({ options: { ...config.options, bottlneck: 3 } })).rejects.toThrow(/bottleneck/);
  await expect(changed({ options: [3] })).rejects.toThrow(/options cannot be read/);
  await expect(changed({ modules_to_save: "head" })).rejects.toThrow(/a list of names/);
  await expect(changed({ sites: [] })).rejects.toThrow(/sites/);
  await expect(attachBlocks(model, await changed({ options: { ...config.options, bottleneck: 4 } }))).rejects.toThrow(
    /\[4,6\]/,
  );
  await expect(attachBlocks(model, await changed({ sites: config.sites.slice(0, 1) }))).rejects.toThrow(
    /blocks\.1\.mlp/,
  );
  const bad = { ...adapter, "blocks.0.mlp.upBias": full([width], Number.NaN) };
  await expect(openBlockAdapter(folder(attachedFiles(attachment, { parameters: bad })))).rejects.toThrow(/NaN/);
  await expect(openAdapter(folder(files))).rejects.toThrow(/adaptformer changes what modules compute/);
  const whole = { ...adapter, "blocks.0.mlp.upBias": fromData("int64", new BigInt64Array(width), [width]) };
  await expect(openBlockAdapter(folder(attachedFiles(attachment, { parameters: whole })))).rejects.toMatchObject({
    code: "UNSUPPORTED_DTYPE",
  });
  await expect(openBlockAdapter(fileSetFromMap(new Map(), "nothing"))).rejects.toMatchObject({ code: "MISSING_FILE" });
});
