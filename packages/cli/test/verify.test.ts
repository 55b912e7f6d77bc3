import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import { exportFolder } from "@loomweight/onnx-export/node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "./in-process.ts";

const root = mkdtempSync(join(tmpdir(), "loomweight-verify-command-"));
const web = join(root, "web");
const model = (name: string) => join(fixturesRoot(), "models", "scribe", `scribe-${name}`);

beforeAll(() => exportFolder(model("base"), web, { dtypes: ["fp32", "q4"], verify: false }));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("a right export: a table of files, exit code 0; under --json the whole result", async () => {
  writeFileSync(join(root, "text.txt"), "JULIET:\nGood night, good night! Parting is such sweet sorrow.\n");
  const { exitCode, stdout, stderr } = await run(
    ...["verify", web, "--against", model("base"), "--text", join(root, "text.txt")],
  );
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("2 files right") });
  expect(stdout).toMatch(/^onnx\/model_q4\.onnx .* logits .* %/m);
  expect(stdout).toMatch(/present\.\* \(worst\)/);
  expect(stdout).toMatch(/the model$/m);
  const json = JSON.parse((await run("--json", "--quiet", "verify", web)).stdout);
  expect(json).toMatchObject({ kind: "verification", good: true, reference: "fp32" });
}, 60_000);

test("a wrong one: the result all the same, the faults on stderr, exit code 1", async () => {
  const { exitCode, stdout, stderr } = await run("verify", web, "--against", model("plays"));
  expect(exitCode).toBe(1);
  expect(stdout).toMatch(/onnx\/model\.onnx .* wrong$/m);
  expect(stderr).toContain("the output logits differs from the reference by");
}, 60_000);

test("export --num-logits-to-keep and --device, in a folder and in place", async () => {
  const copy = join(root, "copy");
  cpSync(model("base"), copy, { recursive: true });
  const kept = join(root, "kept");
  expect(await run("export", copy, kept, "--num-logits-to-keep")).toMatchObject({ exitCode: 0 });
  expect((await run("inspect", kept)).stdout).toMatch(/num_logits_to_keep/);
  expect((await run("verify", kept, "--against", copy)).exitCode).toBe(0);
  expect((await run("export", copy, "--in-place", "--device", "gpu")).stderr).toContain('"gpu"');
  expect(await run("export", copy, "--in-place", "--device", "cuda", "--num-logits-to-keep")).toMatchObject({
    exitCode: 0,
  });
  const { stdout } = await run("inspect", join(copy, "model.onnx"));
  expect(stdout).toMatch(/num_logits_to_keep/);
  expect(stdout).not.toContain("GroupQueryAttention");
}, 60_000);

test("export for one row on the CPU: packed, turned inside attention, a table for both in 4 bits; it verifies and runs", async () => {
  const one = join(root, "one");
  const flags = ["--device", "cpu", "--batch-size", "1", "--dtype", "fp32,q4", "--embeddings"];
  expect(await run("export", model("base"), one, ...flags)).toMatchObject({ exitCode: 0 });
  const { files } = JSON.parse((await run("--json", "--quiet", "inspect", one)).stdout);
  for (const { operators } of files) expect(operators["com.microsoft.RotaryEmbedding"]).toBeUndefined();
  expect(files[1].operators["com.microsoft.GatherBlockQuantized"]).toBe(1);
  expect((await run("verify", one, "--against", model("base"))).exitCode).toBe(0);
  const apart = join(root, "apart");
  expect(await run("export", model("base"), apart, "--no-packed")).toMatchObject({ exitCode: 0 });
  const unpacked = JSON.parse((await run("--json", "--quiet", "inspect", apart)).stdout).files[0];
  expect(unpacked.operators.MatMul - files[0].operators.MatMul).toBe(
    2 * files[0].operators["com.microsoft.GroupQueryAttention"],
  );
  expect((await run("export", model("base"), join(root, "two"), "--batch-size", "2")).stderr).toContain("batch-size");
}, 60_000);

test("inspect of an export: operators, sizes by dtype and what providers can run, of each file", async () => {
  const { exitCode, stdout } = await run("inspect", web);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^file +onnx\/model_q4\.onnx/m);
  expect(stdout).toMatch(/^sizes +float32 .*, uint8 /m);
  // the lengths of a decoder are left to the CPU
  expect(stdout.match(/^runs on +cpu, wasm; webgpu without Size$/gm)).toHaveLength(2);
  const { files } = JSON.parse((await run("--json", "--quiet", "inspect", web)).stdout);
  expect(files[1].operators["com.microsoft.MatMulNBits"]).toBeGreaterThan(20);
  expect(files[1].bytesByDType.uint8).toBeGreaterThan(files[1].bytesByDType.int64 ?? 0);
  expect(files[0].providers).toEqual({ missing: { cpu: [], wasm: [], webgpu: ["Size"] }, unknown: [] });
});

test("inspect of an export whose weights lie beside it: their file, or what is wrong with it", async () => {
  const split = join(root, "split");
  await exportFolder(model("base"), split, { dtypes: ["fp32"], verify: false, externalData: true });
  const whole = await run("inspect", split);
  expect(whole.stdout).toMatch(/^weights in +model\.onnx_data \(3\.4\d MB\)$/m);
  rmSync(join(split, "onnx", "model.onnx_data"));
  const { exitCode, stdout, stderr } = await run("inspect", split);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^input +input_ids/m);
  expect(stderr).toContain('the weights lie in "model.onnx_data", which is not there');
});
