import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea } from "@loomweight/fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { run } from "./in-process.ts";

const area = fixtureArea("mergekit");

describe.skipIf(area === undefined)("on a recipe of two documents", () => {
  const folder = mkdtempSync(join(tmpdir(), "loomweight-explain-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "recipe.yml");
  const model = (name: string) => join(area as string, "models", name);
  writeFileSync(
    file,
    `name: blend
merge_method: linear
models:
  - { model: ${model("llama-a")}, parameters: { weight: [0.2, 0.6] } }
  - { model: ${model("llama-b")}, parameters: { weight: 0.4 } }
---
merge_method: ties
base_model: ${model("llama-base")}
models:
  - { model: blend, parameters: { weight: 0.7, density: 0.5 } }
  - { model: ${model("llama-b")}, parameters: { weight: 0.3, density: 1 } }
dtype: bfloat16
`,
  );

  test("explain prints both formulas with the numbers that apply to the tensor", async () => {
    const { exitCode, stdout } = await run("explain", file, "model.layers.1.mlp.up_proj.weight");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("{ 0.7·kept(x1 − base)[largest 0.5], 0.3·(x2 − base) }");
    expect(stdout).toContain("(0.4·x1 + 0.4·x2) / 0.8"); // layer 1 of 3: the middle of the gradient
    expect(stdout).toMatch(/x1 +blend \(document\)/);
  });

  test("explain names the closest tensor", async () => {
    const { exitCode, stderr } = await run("explain", file, "model.norm.weigth");
    expect(exitCode).toBe(1);
    expect(stderr).toContain('Did you mean "model.norm.weight"');
  });

  test("explain asks for one of the tensors that a part of a name means", async () => {
    const { exitCode, stderr } = await run("explain", file, "up_proj");
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/part of "model\.layers\.0\.mlp\.up_proj\.weight".*give one name/);
  });

  test("a dry run says what becomes of config.json, which dtypes are written, and how much disk is needed", async () => {
    const stacked = join(folder, "stacked.yml");
    const slice = (name: string, end: number) => `  - sources: [{ model: ${model(name)}, layer_range: [0, ${end}] }]\n`;
    writeFileSync(
      stacked,
      `merge_method: passthrough\ndtype: float16\nslices:\n${slice("llama-a", 3)}${slice("llama-b", 2)}`,
    );
    const { stdout } = await run("merge", "--dry-run", stacked, join(folder, "out"));
    expect(stdout).toMatch(/config +.*num_hidden_layers 3 → 5/);
    expect(stdout).toMatch(/output +.* parameters in float16: /);
    expect(stdout).toMatch(/disk +[\d.]+ KB needed, .* free/);
  });

  test("a dry run says what becomes of the output, and writes nothing", async () => {
    const out = join(folder, "out");
    const { exitCode, stdout } = await run("merge", "--dry-run", "--json", file, out);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ method: "ties", documents: ["blend"], conflicts: [] });
    expect(existsSync(out)).toBe(false);
  });
});

/** Recipes of several stages and tokenizers, where the folder of recorded cases holds them. */
const recipe = (name: string) => join(area as string, "recipes", `${name}.yml`);
const recorded = ["multi-three-stages", "tokenizer-tokens", "ties-example"].every(
  (name) => area !== undefined && existsSync(recipe(name)),
);

describe.skipIf(!recorded)("on recorded recipes", () => {
  const inArea = async (...words: string[]) => {
    const before = process.cwd();
    process.chdir(area as string);
    try {
      return await run(...words);
    } finally {
      process.chdir(before);
    }
  };

  test("explain prints the formula with the numbers of one tensor, through documents", async () => {
    const tensor = "model.layers.1.mlp.up_proj.weight";
    const { exitCode, stdout } = await inArea("explain", recipe("multi-three-stages"), tensor);
    expect(exitCode).toBe(0);
    // ties of second (0.6, density 0.7) and llama-d (0.4, density 1)
    expect(stdout).toContain("{ 0.6·kept(x1 − base)[largest 0.7], 0.4·(x2 − base) }");
    // slerp at the middle of [0.1, 0.9]
    expect(stdout).toContain("sin(0.5 θ) / sin θ · base + sin(0.5 θ) / sin θ · x");
    expect(stdout).toContain("0.5·x1 + 0.5·x2");
    expect(stdout).toMatch(/x1 +second \(document\)/);
  });

  test("explain under --json gives inputs and options as data", async () => {
    const tensor = "model.embed_tokens.weight";
    const { stdout } = await inArea("explain", "--json", recipe("tokenizer-tokens"), tensor);
    expect(JSON.parse(stdout)).toMatchObject({
      tensor,
      method: "linear",
      formula: "0.5·x1 + 0.3·x2 + 0.2·x3",
      options: { normalize: true },
      vocabulary: { rows: 32, tokens: 28 },
      inputs: [{ symbol: "x1", model: "models/tok-a", options: { weight: 0.5 } }, {}, {}],
    });
  });

  test("explain names the closest tensor", async () => {
    const { exitCode, stderr } = await inArea("explain", recipe("ties-example"), "model.norm.weigth");
    expect(exitCode).toBe(1);
    expect(stderr).toContain('Did you mean "model.norm.weight"');
  });

  test("a dry run says what would be written and writes nothing", async () => {
    const out = join(tmpdir(), `loomweight-dry-run-${process.pid}`);
    const { exitCode, stdout } = await inArea("merge", "--dry-run", "--json", recipe("multi-three-stages"), out);
    expect(exitCode).toBe(0);
    const plan = JSON.parse(stdout);
    expect(plan).toMatchObject({
      method: "ties",
      documents: ["second", "first"],
      files: ["model.safetensors"],
      conflicts: [],
    });
    expect(plan.bytes).toBeGreaterThan(1000);
    expect(plan.bytesFree).toBeGreaterThan(plan.bytes);
    expect(plan.seconds).toBeGreaterThan(0);
    expect(existsSync(out)).toBe(false);
    const people = await inArea("merge", "--dry-run", recipe("ties-example"), tmpdir());
    expect(people.stdout).toMatch(/time +about .* on one thread/);
    expect(people.stderr).toContain("--force");
  });
});
