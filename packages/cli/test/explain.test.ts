import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { main } from "../src/main.ts";

const area = fixtureArea("mergekit");

async function run(...words: string[]) {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write(part: string) {
      text[name] += part;
    },
  });
  const exitCode = await main(words, { stdout: stream("stdout"), stderr: stream("stderr") });
  return { exitCode, ...text };
}

describe.skipIf(area === undefined)("on recorded recipes", () => {
  const recipe = (name: string) => join(area as string, "recipes", `${name}.yml`);
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
