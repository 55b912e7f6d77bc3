import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { LoomweightError } from "@loomweight/tensor";

/**
 * A worker's script: beside `here` (a module's URL) in a build, in the build of its package when run from source.
 * Throws `WORKER_NOT_BUILT` naming `what` and the package.
 */
export function workerUrl(here: string, script: string, what: string, packageName = "graph"): URL {
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
    fix: fromSource
      ? `Build the package: pnpm --filter @loomweight/${packageName} build`
      : `Install @loomweight/${packageName} again.`,
  });
}
