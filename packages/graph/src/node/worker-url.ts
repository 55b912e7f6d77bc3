import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { LoomweightError } from "@loomweight/tensor";

/** A worker's script: beside this file in a build, in the build of the package when run from source. */
export function workerUrl(script: string, what: string): URL {
  const here = import.meta.url;
  const fromSource = new URL(here).pathname.endsWith(".ts");
  const candidates = fromSource ? [`../../dist/node/${script}`] : [`./${script}`, `./node/${script}`];
  for (const candidate of candidates) {
    const url = new URL(candidate, here);
    if (existsSync(fileURLToPath(url))) return url;
  }
  throw new LoomweightError({
    code: "WORKER_NOT_BUILT",
    problem: `the script of ${what} is missing`,
    file: fileURLToPath(new URL(candidates[0], here)),
    fix: fromSource ? "Build the package: pnpm --filter @loomweight/graph build" : "Install @loomweight/graph again.",
  });
}
