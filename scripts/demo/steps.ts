import { spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A step of the demo with what it took. */
export interface StepRecord {
  readonly name: string;
  readonly milliseconds: number;
  /** Largest resident memory of its process, in bytes. */
  readonly peakBytes: number;
}

/** Runs the `loomweight` command as a user would, in a process of its own, and measures it. Throws when it fails. */
export async function runStep(name: string, words: readonly string[], output: string): Promise<StepRecord> {
  const peakFile = join(output, ".peak");
  const began = performance.now();
  await new Promise<void>((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [
        "--import",
        new URL("peak-memory.mjs", import.meta.url).href,
        "packages/cli/bin/loomweight.js",
        ...words,
        "--quiet",
      ],
      { cwd: root, stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, LOOMWEIGHT_PEAK_FILE: peakFile } },
    );
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`loomweight ${words.join(" ")} ended with ${signal ?? `exit code ${code}`}`));
    });
  });
  const milliseconds = performance.now() - began;
  const peakBytes = Number(await readFile(peakFile, "utf8"));
  await rm(peakFile);
  return { name, milliseconds, peakBytes };
}
