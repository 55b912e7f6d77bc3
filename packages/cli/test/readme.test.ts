import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import { afterAll, beforeAll, expect, test } from "vitest";
import { main } from "../src/main.ts";
import { createProgram } from "../src/program.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)].map(([, language, code]) => ({ language, code }));
const folder = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
const before = process.cwd();

beforeAll(() => {
  for (const name of ["base", "plays", "verse"]) {
    cpSync(join(fixturesRoot(), "models", "scribe", `scribe-${name}`), join(folder, name), { recursive: true });
  }
  process.chdir(folder);
});
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

async function run(words: readonly string[]) {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write(part: string) {
      text[name] += part;
    },
  });
  const exitCode = await main(words, { stdout: stream("stdout"), stderr: stream("stderr") });
  return { exitCode, ...text };
}

test("the example runs as it is printed, line by line", async () => {
  const said: string[] = [];
  for (const { language, code } of blocks) {
    if (language === "yaml") writeFileSync("recipe.yml", code);
    if (language !== "sh") continue;
    for (const line of code.trim().split("\n")) {
      const words = line.replace(/#.*$/, "").trim().split(/\s+/);
      if (words[0] === "npm") continue;
      expect(words[0]).toBe("loomweight");
      const { exitCode, stdout, stderr } = await run(words.slice(1));
      expect([line, exitCode, stderr.includes("error")]).toEqual([line, 0, false]);
      said.push(stdout);
    }
  }
  const [dryRun, explained, merged, diff, inspected] = said;
  expect(dryRun).toMatch(/method +ties/);
  // Layer 1 of 4: a third of the way from 0.3 to 0.7.
  expect(explained).toContain("0.6·kept(x1 − base)[largest 0.5], 0.4·kept(x2 − base)[largest 0.433333]");
  expect(merged).toBe("");
  expect(diff).toContain("model.layers.1.mlp.up_proj.weight");
  expect(inspected).toMatch(/tensors +38/);
}, 60_000);

test("the table names the commands that there are", async () => {
  const listed = [...readme.matchAll(/^\| `loomweight (\S+)[^`]*` +\|/gm)].map(([, name]) => name);
  const known = createProgram(async () => {}).commands.map((command) => command.name());
  expect([...listed].sort()).toEqual([...known].sort());
  for (const name of listed) expect([name, (await run([name, "--help"])).exitCode]).toEqual([name, 0]);
});

test("the page on recipe search: its recipe is read, and its command has the options that it names", async () => {
  const page = readFileSync(new URL("../../../docs/recipe-search.md", import.meta.url), "utf8");
  const [, recipe] = /```yaml\n([\s\S]*?)```/.exec(page) ?? [];
  const { readSearchSpace } = await import("@loomweight/merge");
  expect(readSearchSpace(recipe).scalars.map(({ name }) => name)).toEqual([
    "models[0].parameters.weight",
    "models[0].parameters.density[0]",
    "mlp",
    "parameters.lambda",
  ]);
  const { stdout } = await run(["search", "--help"]);
  for (const [option] of page.matchAll(/--(?:score|generations|population|state)\b/g)) expect(stdout).toContain(option);
});
