import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import { combinations } from "@loomweight/merge";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as program from "../src/program.ts";
import { run } from "./in-process.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-combine-"));
const at = (name: string) => join(folder, name);
const scribe = (name: string) => join(fixturesRoot(), "models", "scribe", `scribe-${name}`);

beforeAll(() => {
  for (const name of ["base", "plays"]) cpSync(scribe(name), at(name), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = (name: string) => JSON.parse(readFileSync(join(at(name), "adapter_config.json"), "utf8"));

test("a fine-tune becomes an adapter, two adapters become one, and that folds", async () => {
  const extracted = await run("extract-lora", at("base"), at("plays"), at("lora"), "--rank", "8", "--json");
  expect([extracted.exitCode, extracted.stderr.includes("error")]).toEqual([0, false]);
  const { layers } = JSON.parse(extracted.stdout);
  expect(layers.length).toBeGreaterThan(4);
  for (const { rank, relativeError } of layers) {
    expect(rank).toBeLessThanOrEqual(8);
    expect(relativeError).toBeLessThan(1);
  }
  const words = ["combine", at("lora"), at("lora"), "--weights", "0.75,-0.25"];
  const exact = await run(...words, "--out", at("cat"), "--json");
  expect(exact.exitCode).toBe(0);
  expect(config("cat")).toMatchObject({ peft_type: "LORA", r: 16, lora_alpha: 16 });
  const short = await run(...words, "--out", at("svd"), "--combination", "svd", "--rank", "8", "--json");
  // 0.75 − 0.25 of one adapter of rank 8: nothing is left out.
  for (const { relativeError } of JSON.parse(short.stdout).layers) expect(relativeError).toBeLessThan(1e-6);
  const clusters = ["combine", at("lora"), at("cat"), "--out", at("lego"), "--combination", "lego", "--rank", "12"];
  expect((await run(...clusters)).exitCode).toBe(0);
  expect(config("lego")).toMatchObject({ peft_type: "LORA", r: 12, lora_alpha: 12 });
  expect((await run("fold", at("base"), at("svd"), "--out", at("half"))).exitCode).toBe(0);
  const again = await run("extract-lora", at("base"), `${at("base")}+${at("svd")}`, at("lora4"), "--rank", "4");
  expect(again.exitCode).toBe(0);
  expect(again.stderr).toMatch(/layers of rank 4 in /);
}, 60_000);

test("what the user got wrong is said", async () => {
  expect((await run("combine", at("base"), "--out", at("x"))).stderr).toContain("holds a model, not an adapter");
  const two = await run("combine", at("base"), "--out", at("x"), "--combination", "tie");
  expect([two.exitCode, two.stderr.includes("ties")]).toEqual([2, true]);
  const equal = await run("extract-lora", at("base"), at("base"), at("x"));
  expect([equal.exitCode, equal.stderr.includes("no matrix differs")]).toEqual([1, true]);
  for (const list of ["1,2", "1,2,3"]) {
    const wrong = await run(
      "combine",
      at("lora"),
      ...(list === "1,2" ? [] : [at("lora")]),
      "--out",
      at("x"),
      "--weights",
      list,
    );
    expect([wrong.exitCode, wrong.stderr.includes("one for each adapter")]).toEqual([1, true]);
  }
  const weights = await run("combine", at("base"), "--out", at("x"), "--weights", "a");
  expect([weights.exitCode, weights.stderr.includes("Numbers separated by commas")]).toEqual([2, true]);
});

test("the command offers every combination of the library", () => {
  expect(program.combinations).toEqual(combinations);
});
