// pnpm lint:packages [package…]: publint and are-the-types-wrong on every package as it would be published.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packAll, runCommand } from "./pack.ts";
import { publishedPackages, root } from "./packages.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-lint-"));
let faults = 0;
try {
  const wanted = process.argv.slice(2).filter((word) => word !== "--");
  const packages = publishedPackages().filter((each) => wanted.length === 0 || wanted.includes(each.folder));
  const tarballs = packAll(packages, folder);
  for (const { name } of packages) {
    const tarball = tarballs.get(name) ?? "";
    for (const [tool, words] of [
      ["publint", [tarball, "--strict"]],
      ["attw", [tarball, "--profile", "esm-only", "--format", "ascii", "--no-emoji"]],
    ] as const) {
      try {
        runCommand(process.execPath, [toolEntry(tool), ...words]);
        console.log(`${name}: ${tool} is content`);
      } catch (error) {
        faults++;
        console.error(`${name}: ${(error as Error).message}`);
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = faults === 0 ? 0 : 1;

function toolEntry(tool: "publint" | "attw"): string {
  return tool === "publint"
    ? join(root, "node_modules/publint/src/cli.js")
    : join(root, "node_modules/@arethetypeswrong/cli/dist/index.js");
}
