import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "./in-process.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-reweight-"));
const at = (name: string) => join(folder, name);

beforeAll(() => {
  for (const name of ["base", "plays"]) {
    cpSync(join(fixturesRoot(), "models", "scribe", `scribe-${name}`), at(name), { recursive: true });
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("an export takes the weights of a fine-tune, and says where each comes from", async () => {
  expect((await run("export", at("base"), at("web"), "--dtype", "q4", "--no-verify")).exitCode).toBe(0);
  const words = ["reweight", at("web"), at("plays"), at("tuned"), "--base", at("base"), "--no-verify"];
  const listed = await run(...words, "--list");
  expect([listed.exitCode, listed.stderr.includes("error")]).toEqual([0, false]);
  expect(listed.stderr).toMatch(/onnx\/model_q4\.onnx \(.*\): 31 weights replaced, \d+ constants? kept, 0 tensors/);
  expect(listed.stderr).toMatch(
    /model\.layers\.1\.mlp\.up_proj\.weight_Q4 +model\.layers\.1\.mlp\.up_proj\.weight +transpose/,
  );
  const again = await run(...words);
  expect([again.exitCode, again.stderr.includes("exists")]).toEqual([1, true]);
  const json = await run(...words, "--json", "--force");
  expect(JSON.parse(json.stdout).files[0].matched).toHaveLength(31);
}, 60_000);

test("what cannot be matched is named, and nothing is written", async () => {
  cpSync(join(fixturesRoot(), "architectures", "bert"), at("bert"), { recursive: true });
  const { exitCode, stderr } = await run("reweight", at("web"), at("bert"), at("wrong"));
  expect(exitCode).toBe(1);
  expect(stderr).toContain("model_type");
  expect(existsSync(at("wrong"))).toBe(false);
});
