// pnpm check: everything that has to hold before a change is merged. Runs all steps, then says which failed.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const steps = ["types", "lint", "floors", "gen --check", "test:installed", "lint:packages", "install-test"];
const failed: string[] = [];
for (const step of steps) {
  const began = performance.now();
  console.log(`\n— ${step}`);
  const result = spawnSync("pnpm", ["--silent", "run", ...step.split(" ")], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (result.status !== 0) failed.push(step);
  console.log(
    `— ${step}: ${result.status === 0 ? "passed" : "FAILED"} (${((performance.now() - began) / 1000).toFixed(1)} s)`,
  );
}
console.log(failed.length === 0 ? "\ncheck: all passed" : `\ncheck: FAILED ${failed.join(", ")}`);
process.exitCode = failed.length === 0 ? 0 : 1;
