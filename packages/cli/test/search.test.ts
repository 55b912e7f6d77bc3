import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint, saveSafetensors } from "@loomweight/checkpoint/node";
import { tensor } from "@loomweight/tensor";
import { afterEach, beforeEach, expect, test } from "vitest";
import { main } from "../src/main.ts";

let folder = "";

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-search-"));
  for (const [name, values] of [
    ["a", [1, 0, 0]],
    ["b", [0, 1, 0]],
  ] as const) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "config.json"), JSON.stringify({ architectures: ["Some"], model_type: "some" }));
    await saveSafetensors(join(folder, name, "model.safetensors"), new Map([["weight", tensor([...values])]]));
  }
  writeFileSync(
    join(folder, "recipe.yml"),
    `merge_method: linear
models:
  - { model: a, parameters: { weight: { search: [0, 1] } } }
  - { model: b, parameters: { weight: { search: [0, 1] } } }
parameters: { normalize: false }
dtype: float32
`,
  );
  // Lowest where the merged weight is [0.8, 0.25, 0]: seen through the lazy checkpoint, and at times the folder.
  writeFileSync(
    join(folder, "score.mjs"),
    `import { existsSync } from "node:fs";
export async function score({ checkpoint, folder, config, index }) {
  if (index === 1 && !existsSync((await folder()) + "/model.safetensors")) throw new Error("not written");
  const { data } = await checkpoint.read("weight");
  if (config.model_type !== "some") throw new Error("another config");
  return (data[0] - 0.8) ** 2 + (data[1] - 0.25) ** 2;
}
`,
  );
});

afterEach(() => rmSync(folder, { recursive: true }));

async function search(...words: string[]) {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write(part: string) {
      text[name] += part;
    },
  });
  const exitCode = await main(["search", ...words], { stdout: stream("stdout"), stderr: stream("stderr") });
  return { exitCode, ...text };
}

const at = (name: string) => join(folder, name);

test("finds the numbers that the score likes best, merges with them, and says which", async () => {
  const common = ["--generations", "8", "--seed", "3", "--json"];
  const { exitCode, stdout, stderr } = await search(at("recipe.yml"), at("out"), "--score", at("score.mjs"), ...common);
  expect(stderr).toContain("generation");
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout);
  expect(result.score).toBeLessThan(result.startScore / 10);
  expect(result.startScore).toBeCloseTo(0.3 ** 2 + 0.25 ** 2, 6);
  const merged = await openCheckpoint(at("out"));
  const { data } = await merged.read("weight");
  await merged.close();
  expect([...(data as Float32Array)]).toEqual([
    Math.fround(result.values["models[0].parameters.weight"]),
    Math.fround(result.values["models[1].parameters.weight"]),
    0,
  ]);
  expect(readFileSync(at("out/README.md"), "utf8")).toContain(String(result.recipe.models[0].parameters.weight));
}, 60_000);

test("goes on from its state file to the same result as one run", async () => {
  const run = (out: string, generations: string) =>
    search(
      at("recipe.yml"),
      at(out),
      "--score",
      at("score.mjs"),
      "--generations",
      generations,
      "--json",
      "--state",
      at(`${out}.json`),
      "--force",
    );
  const whole = JSON.parse((await run("whole", "3")).stdout);
  const half = JSON.parse((await run("parts", "1")).stdout);
  const rest = await run("parts", "3");
  expect(rest.stderr).toContain("continuing from");
  // What is told is better than what was known before.
  const told = [...rest.stderr.matchAll(/generation \d+, candidate \d+: (\S+) with/g)].map(([, found]) =>
    Number(found),
  );
  for (const found of told) expect(found).toBeLessThan(half.score);
  const { values, score, generations } = JSON.parse(rest.stdout);
  expect({ values, score, generations }).toEqual({ values: whole.values, score: whole.score, generations: 3 });
  expect(half.score).toBeGreaterThanOrEqual(score);
  expect(readFileSync(at("parts.json"))).toEqual(readFileSync(at("whole.json")));
}, 60_000);

test.each([
  ["an output that exists", ["recipe.yml", "a", "--score", "score.mjs"], /exists already/],
  ["a script that does not exist", ["recipe.yml", "out", "--score", "none.mjs"], /none\.mjs: there is no such script/],
  ["a script without a score", ["recipe.yml", "out", "--score", "empty.mjs"], /exports no score/],
  ["a script that cannot be parsed", ["recipe.yml", "out", "--score", "broken.mjs"], /cannot be loaded/],
  ["a recipe without ranges", ["plain.yml", "out", "--score", "score.mjs"], /plain\.yml: no number of the recipe/],
  ["a state that is damaged", ["recipe.yml", "out", "--score", "score.mjs", "--state", "bad.json"], /bad\.json/],
])(
  "%s is refused before anything is written",
  async (_, words, message) => {
    writeFileSync(at("empty.mjs"), "export const other = 1;\n");
    writeFileSync(at("broken.mjs"), "export {\n");
    writeFileSync(at("bad.json"), '{ "kind": "other" }');
    writeFileSync(at("plain.yml"), "merge_method: linear\nmodels: [{ model: a, parameters: { weight: 1 } }]\n");
    const { exitCode, stderr } = await search(
      ...words.map((word) => (/\.(yml|mjs|json)$|^(a|out)$/.test(word) ? at(word) : word)),
    );
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(message);
    expect(existsSync(at("out"))).toBe(false);
  },
  60_000,
);
