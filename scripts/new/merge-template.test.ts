import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { root } from "../packages/packages.ts";
import { camelCase, mergeMethodFiles } from "./merge-template.ts";

let folder = "";

afterEach(() => {
  if (folder !== "") rmSync(folder, { recursive: true, force: true });
});

test("names are turned into exports", () => {
  expect(["ties", "dare-ties", "top-2-mean"].map(camelCase)).toEqual(["ties", "dareTies", "top2Mean"]);
});

test("a method from the template passes its own test, contract included, as it is written", () => {
  // A sibling of methods/, so that its imports mean the same; the run of `pnpm gen` does not see it.
  const parent = join(root, "packages/merge/src");
  mkdirSync(parent, { recursive: true });
  folder = mkdtempSync(join(parent, "new-method-test-"));
  for (const { name, content } of mergeMethodFiles("fresh-method")) writeFileSync(join(folder, name), content);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, "node_modules/vitest/vitest.mjs"), "run", join(folder, "fresh-method.test.ts")],
    { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  expect(status, stdout + stderr).toBe(0);
  expect(stdout).toMatch(/Tests\s+\d{1,3} passed/);
}, 120_000);
