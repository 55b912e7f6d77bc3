import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import type { OnnxNode } from "@loomweight/graph";
import { openOnnxFile } from "@loomweight/graph/node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "./in-process.ts";

const base = join(fixturesRoot(), "models", "scribe", "scribe-base");
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-export-dtypes-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Nodes of the one model file of an export made with these options. */
async function exported(suffix: string, ...options: string[]): Promise<readonly OnnxNode[]> {
  const result = await run("export", base, join(folder, "web"), "--no-verify", ...options);
  expect(result, result.stderr).toMatchObject({ exitCode: 0 });
  const { model, close } = await openOnnxFile(join(folder, "web", "onnx", `model${suffix}.onnx`));
  await close();
  return model.graph.nodes;
}

const number = (node: OnnxNode | undefined, name: string) => {
  const attribute = node?.attributes[name];
  return attribute?.type === "int" ? Number(attribute.value) : undefined;
};
const product = (nodes: readonly OnnxNode[], weight: string) =>
  nodes.find(({ inputs: [, name = ""] }) => name.startsWith(weight));
const layer = (index: number, part: string) => `model.layers.${index}.${part}.weight`;

test("--mixed, --block-size and --asymmetric reach the products", async () => {
  const nodes = await exported("_q4", "--dtype", "q4", "--mixed", "ends", "--block-size", "64", "--asymmetric");
  const [first, last] = [product(nodes, layer(0, "mlp.up_proj")), product(nodes, "lm_head")];
  expect([first, last].map((node) => number(node, "bits"))).toEqual([8, 8]);
  const middle = product(nodes, layer(1, "mlp.up_proj"));
  expect([number(middle, "bits"), number(middle, "block_size"), middle?.inputs.length]).toEqual([4, 64, 4]);
});

test("--rule: the first that fits a weight counts", async () => {
  const rules = ["--rule", "layers\\.0\\..*up_proj=float", "--rule", "up_proj=8", "--rule", "v_proj=2"];
  const nodes = await exported("_q4", "--dtype", "q4", ...rules);
  expect(product(nodes, layer(0, "mlp.up_proj"))?.op).toBe("MatMul");
  expect(number(product(nodes, layer(1, "mlp.up_proj")), "bits")).toBe(8);
  expect(number(product(nodes, layer(1, "self_attn.v_proj")), "bits")).toBe(2);
  expect(number(product(nodes, layer(1, "mlp.gate_proj")), "bits")).toBe(4);
});

test("--bnb4-type fp4, with a block size of its own", async () => {
  const nodes = await exported("_bnb4", "--dtype", "bnb4", "--bnb4-type", "fp4", "--block-size", "128");
  const up = product(nodes, layer(1, "mlp.up_proj"));
  expect([up?.op, number(up, "quant_type"), number(up, "block_size")]).toEqual(["MatMulBnb4", 0, 128]);
});

test("--format qdq gives DequantizeLinear, bf16 a Cast", async () => {
  const ops = new Set((await exported("_q4", "--dtype", "q4", "--format", "qdq")).map(({ op }) => op));
  expect([ops.has("DequantizeLinear"), ops.has("MatMulNBits")]).toEqual([true, false]);
  rmSync(join(folder, "web"), { recursive: true });
  const nodes = await exported("_bf16", "--dtype", "bf16");
  const up = product(nodes, layer(1, "mlp.up_proj"));
  expect([up?.op, nodes.some(({ op, name }) => op === "Cast" && name.includes("up_proj"))]).toEqual(["MatMul", true]);
});

test("--in-place writes a graph beside the weights, which stay the only copy", async () => {
  const model = join(folder, "model");
  await cp(base, model, { recursive: true });
  const before = readdirSync(model);
  const { exitCode, stderr } = await run("export", model, "--in-place");
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  const added = readdirSync(model).filter((name) => !before.includes(name));
  expect(added.some((name) => name.endsWith(".onnx") || existsSync(join(model, name, "model.onnx")))).toBe(true);
  const again = await run("export", model, "--in-place");
  expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("--force") });
  expect((await run("export", model, "--in-place", "--force")).exitCode).toBe(0);
});

test.each([
  ["another folder", ["OUT", "--in-place"], 2, "leave OUT away"],
  ["quantized weights in place", ["--in-place", "--dtype", "q4"], 2, "leaves weights as they are stored"],
  ["no folder", [], 2, "needs the folder to write"],
  ["a rule without bits", ["OUT", "--rule", "up_proj"], 2, "a regular expression, ="],
  ["a rule of 3 bits", ["OUT", "--rule", "up_proj=3"], 2, "2, 4, 8 or float"],
  ["a broken regular expression", ["OUT", "--rule", "(=4"], 2, "regular expression"],
  ["a preset nobody knows", ["OUT", "--mixed", "best"], 2, "k-mixed"],
  ["levels nobody knows", ["OUT", "--bnb4-type", "fp8"], 2, "nf4"],
  ["a block size that no kernel runs", ["OUT", "--dtype", "q4", "--block-size", "48"], 1, "16, 32, 64"],
])("%s is refused, and nothing is written", async (_, words, code, message) => {
  const given = words.map((word) => (word === "OUT" ? join(folder, "web") : word));
  expect(await run("export", base, ...given)).toMatchObject({
    exitCode: code,
    stderr: expect.stringContaining(message),
  });
  expect(readdirSync(folder)).toEqual([]);
});
