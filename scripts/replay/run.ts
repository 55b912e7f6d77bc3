// pnpm replay [area…] [--json FILE]: replays recorded references (models, peft, mergekit, …) and says what passed and what did not.
import { existsSync, readdirSync } from "node:fs";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startVitest } from "vitest/node";
import { replayReporter } from "./reporter.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values, positionals: areas } = parseArgs({
  args: process.argv.slice(2).filter((word) => word !== "--"),
  options: { json: { type: "string" } },
  allowPositionals: true,
});

/**
 * Replay files with the words that choose them: their package and their area, which is the file's name up to the first
 * hyphen (`models-fold.replay.test.ts`: models) or, in a folder of test/, its path (`methods/23-adamp.replay.test.ts`:
 * methods and methods/23-adamp).
 */
function replayFiles(): { path: string; areas: string[] }[] {
  const ending = ".replay.test.ts";
  return readdirSync(join(root, "packages")).flatMap((name) => {
    const folder = join(root, "packages", name, "test");
    if (!existsSync(folder)) return [];
    return readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(ending))
      .map((file) => {
        const parts = file.slice(0, -ending.length).split(sep);
        const areas = parts.length > 1 ? [parts[0], parts.join("/")] : [parts[0].replace(/-[a-z0-9-]+$/, "")];
        return { path: join("packages", name, "test", file), areas: [...areas, name] };
      });
  });
}

const files = replayFiles();
const known = [...new Set(files.flatMap((file) => file.areas))].sort();
const unknown = areas.filter((area) => !known.includes(area));
if (unknown.length > 0) {
  console.error(`unknown area ${unknown.join(", ")}; there are: ${known.join(", ")}`);
  process.exit(2);
}
const chosen = files
  .filter((file) => areas.length === 0 || file.areas.some((area) => areas.includes(area)))
  .map(({ path }) => path);
if (chosen.length === 0) {
  console.error("no replay files found");
  process.exit(1);
}
const vitest = await startVitest("test", chosen, {
  root,
  watch: false,
  reporters: [replayReporter(values)],
  testTimeout: 120_000,
});
await vitest.close();
