// pnpm gen: writes what is derived from definitions. pnpm gen --check: says what is stale and fails.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../packages/packages.ts";
import { generatedTargets, type Target } from "./targets.ts";

const check = process.argv.includes("--check");
const targets: Target[] = [];
for (const make of await generatedTargets()) {
  try {
    targets.push(make());
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}
const stale = targets.filter(
  ({ path, content }) => !existsSync(join(root, path)) || readFileSync(join(root, path), "utf8") !== content,
);
for (const { path, content } of stale) {
  if (!check) writeFileSync(join(root, path), content);
  console.log(`${check ? "stale: " : "written: "}${path}`);
}
if (stale.length === 0 && process.exitCode !== 1) console.log("generated files are fresh");
if (check && stale.length > 0) {
  console.error("run `pnpm gen`");
  process.exitCode = 1;
}
