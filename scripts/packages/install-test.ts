// pnpm install-test: every package as users get it, packed, installed alone with npm into an empty folder outside the
// workspace, imported as ESM and through require, and one call of it run.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { calls } from "./install-test-calls.ts";
import { packAll, runCommand } from "./pack.ts";
import { type PublishedPackage, publishedPackages } from "./packages.ts";

const wanted = process.argv.slice(2).filter((word) => word !== "--");
const folder = mkdtempSync(join(tmpdir(), "loomweight-install-"));
let faults = 0;
try {
  const packages = publishedPackages();
  const tarballs = packAll(packages, join(folder, "tarballs"));
  for (const each of packages) {
    if (wanted.length > 0 && !wanted.includes(each.folder)) continue;
    const started = performance.now();
    try {
      installAlone(each, tarballs, join(folder, each.folder));
      console.log(
        `${each.name}: installed alone, imported, required, run (${Math.round(performance.now() - started)} ms)`,
      );
    } catch (error) {
      faults++;
      console.error(`${each.name}: ${(error as Error).message}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = faults === 0 ? 0 : 1;

function installAlone(each: PublishedPackage, tarballs: ReadonlyMap<string, string>, home: string): void {
  mkdirSync(home, { recursive: true });
  const file = (name: string) => `file:${tarballs.get(name)}`;
  const manifest = {
    name: "install-test",
    private: true,
    dependencies: { [each.name]: file(each.name) },
    // The packages it needs come from tarballs as well: none of them is taken from a registry.
    overrides: Object.fromEntries(each.needs.map((name) => [name, file(name)])),
  };
  writeFileSync(join(home, "package.json"), JSON.stringify(manifest, null, 2));
  runCommand("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"], { cwd: home });
  const call = calls[each.folder];
  if (call === undefined) throw new Error("has no call in scripts/packages/install-test-calls.ts");
  writeFileSync(join(home, "esm.mjs"), `import * as library from ${JSON.stringify(each.name)};\n${call}\n`);
  writeFileSync(
    join(home, "cjs.cjs"),
    `const library = require(${JSON.stringify(each.name)});\n(async () => {\n${call}\n})().catch((error) => { console.error(error); process.exit(1); });\n`,
  );
  runCommand(process.execPath, ["esm.mjs"], { cwd: home });
  runCommand(process.execPath, ["--no-warnings", "cjs.cjs"], { cwd: home });
  if (each.folder === "cli") {
    const help = runCommand(process.execPath, [join(home, "node_modules/loomweight/bin/loomweight.js"), "--help"], {
      cwd: home,
    });
    if (!help.includes("merge")) throw new Error("loomweight --help does not mention merge");
  }
}
