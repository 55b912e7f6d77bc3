import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const entry = fileURLToPath(new URL("../bin/loomweight.js", import.meta.url));

/** What a run of the built command gave. */
export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built `loomweight` in `folder`. */
export function loomweight(folder: string, ...words: string[]): Outcome {
  if (!existsSync(new URL("../dist/bin.js", import.meta.url))) throw new Error("build first: pnpm build");
  const { status, stdout, stderr } = spawnSync(process.execPath, [entry, ...words], { cwd: folder, encoding: "utf8" });
  return { exitCode: status, stdout, stderr };
}

/** Runs it and sends SIGINT as soon as stderr shows `mark`. */
export function interruptAt(mark: string, folder: string, ...words: string[]): Promise<Outcome> {
  const child = spawn(process.execPath, [entry, ...words], { cwd: folder });
  let stdout = "";
  let stderr = "";
  let sent = false;
  child.stdout.on("data", (part) => {
    stdout += part;
  });
  child.stderr.on("data", (part) => {
    stderr += part;
    if (!sent && stderr.includes(mark)) sent = child.kill("SIGINT");
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}

/** A digest of every file under a folder, temporary ones included: what a failed command must leave as it was. */
export function snapshot(folder: string): string {
  const lines: string[] = [];
  const visit = (path: string) => {
    for (const entryOfFolder of readdirSync(path, { withFileTypes: true })) {
      const child = join(path, entryOfFolder.name);
      lines.push(relative(folder, child));
      if (entryOfFolder.isDirectory()) visit(child);
      else lines.push(createHash("sha256").update(readFileSync(child)).digest("hex"));
    }
  };
  visit(folder);
  return lines.join("\n");
}

/** A safetensors file from its header and data, however wrong they are. */
export function writeSafetensors(path: string, header: unknown, data: Uint8Array): void {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, data]));
}

/** A valid safetensors file of zeros that takes no space on disk: `count` float32 tensors of `elements` each. */
export function writeSparseModel(path: string, names: readonly string[], shape: readonly number[]): void {
  const bytes = 4 * shape.reduce((product, size) => product * size, 1);
  const header = Object.fromEntries(
    names.map((name, i) => [name, { dtype: "F32", shape, data_offsets: [i * bytes, (i + 1) * bytes] }]),
  );
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = openSync(path, "w");
  writeSync(file, Buffer.concat([length, Buffer.from(padded)]));
  ftruncateSync(file, 8 + padded.length + names.length * bytes);
  closeSync(file);
}
