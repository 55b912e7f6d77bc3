import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type PublishedPackage, root } from "./packages.ts";

/** Runs a command and returns its output; throws with that output when it fails. */
export function runCommand(
  command: string,
  words: readonly string[],
  options: { cwd?: string; environment?: Record<string, string> } = {},
): string {
  const result = spawnSync(command, words, {
    cwd: options.cwd ?? root,
    encoding: "utf8",
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip", ...options.environment },
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.status !== 0) {
    throw new Error(`${command} ${words.join(" ")}: exit ${result.status}\n${result.stdout}${result.stderr}`);
  }
  return result.stdout;
}

/** `pnpm pack` of every package into `folder`: name → tarball. */
export function packAll(packages: readonly PublishedPackage[], folder: string): Map<string, string> {
  const tarballs = new Map<string, string>();
  for (const { folder: name, path, name: published } of packages) {
    const own = join(folder, name);
    mkdirSync(own, { recursive: true });
    runCommand("pnpm", ["pack", "--pack-destination", own], { cwd: path });
    const file = readdirSync(own).find((each) => each.endsWith(".tgz"));
    if (file === undefined) throw new Error(`${published}: pnpm pack wrote no tarball`);
    tarballs.set(published, join(own, file));
  }
  return tarballs;
}
