import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkFloors } from "./check-floors.ts";
import type { Floor } from "./table.ts";

const floors: readonly Floor[] = [
  { folder: "low", floor: 0, holds: "", group: "weights" },
  { folder: "high", floor: 1, holds: "", group: "weights" },
];
let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "loomweight-floors-"));
  write("package.json", JSON.stringify({ name: "root", devDependencies: { vitest: "*" } }));
  manifest("low");
  manifest("high", { "@loomweight/low": "*" });
  write("packages/low/src/index.ts", "export const low = 1;\n");
  write("packages/high/src/index.ts", 'export { low } from "@loomweight/low";\n');
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

function write(path: string, content: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

function manifest(folder: string, dependencies: Record<string, string> = {}): void {
  const exports = {
    ".": { "@loomweight/source": "./src/index.ts" },
    "./node": { "@loomweight/source": "./src/node/index.ts" },
  };
  write(`packages/${folder}/package.json`, JSON.stringify({ name: `@loomweight/${folder}`, exports, dependencies }));
}

test("a workspace whose imports go downwards has no faults", () => {
  write("packages/low/src/node/index.ts", 'import "node:fs";\n');
  write("packages/high/src/high.test.ts", 'import { test } from "vitest";\n');
  expect(checkFloors(root, floors)).toEqual([]);
});

test("an upward import is found, whether static, dynamic or for types only", () => {
  write("packages/low/src/index.ts", 'import type { x } from "@loomweight/high";\nexport type y = typeof x;\n');
  write("packages/low/src/late.ts", 'export const late = () => import("@loomweight/high");\n');
  const faults = checkFloors(root, floors).filter((fault) => fault.includes("strictly downwards"));
  expect(faults.map((fault) => fault.split(":")[0])).toEqual(["packages/low/src/index.ts", "packages/low/src/late.ts"]);
});

test("an upward dependency in package.json is found", () => {
  manifest("low", { "@loomweight/high": "*" });
  expect(checkFloors(root, floors)).toEqual([
    "packages/low/package.json: depends on @loomweight/high, which is not on a lower floor",
  ]);
});

test("a node: module that a browser entry reaches through another file is found", () => {
  write("packages/low/src/index.ts", 'export * from "./deep.ts";\n');
  write("packages/low/src/deep.ts", 'import { readFileSync } from "fs";\nexport const deep = readFileSync;\n');
  expect(checkFloors(root, floors)).toEqual([
    'packages/low/src/deep.ts: imports fs, but "." must also run in browsers; move it under src/node',
  ]);
});

test("another package's /node entry counts as Node too", () => {
  write("packages/high/src/index.ts", 'export * from "@loomweight/low/node";\n');
  expect(checkFloors(root, floors)).toHaveLength(1);
});

test("an import that package.json does not declare is found; a test may use the root's", () => {
  write("packages/low/src/index.ts", 'import { test } from "vitest";\nexport const x = test;\n');
  write("packages/low/src/low.test.ts", 'import { test } from "vitest";\n');
  expect(checkFloors(root, floors)).toEqual([
    "packages/low/src/index.ts: imports vitest, which packages/low/package.json does not declare",
  ]);
});

test("a subpath that the other package does not export is found", () => {
  write("packages/high/src/index.ts", 'export * from "@loomweight/low/inner";\n');
  expect(checkFloors(root, floors)).toEqual([
    "packages/high/src/index.ts: imports @loomweight/low/inner, which @loomweight/low does not export",
  ]);
});

test("a package without a floor and an import out of the package are found", () => {
  write("packages/other/package.json", JSON.stringify({ name: "@loomweight/other" }));
  write("packages/high/src/index.ts", 'export * from "../../low/src/index.ts";\n');
  expect(checkFloors(root, floors)).toEqual([
    "packages/high/src/index.ts: imports ../../low/src/index.ts, which lies outside its package",
    "packages/other: has no row in scripts/floors/table.ts",
  ]);
});
