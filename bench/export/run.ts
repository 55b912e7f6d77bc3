/**
 * Time and memory of `loomweight export` on a model of Qwen2 0.5B's shape with random weights (0.99 GB of bfloat16),
 * one run a dtype, from the built packages. Linux: memory is the largest anonymous resident set, sampled.
 *
 * usage: node --import tsx bench/export/run.ts [FOLDER] [dtype,…]
 * FOLDER (default: one in the temporary folder) keeps the model for the next time; outputs are removed.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const command = join(root, "packages/cli/bin/loomweight.js");
const [folder = join(tmpdir(), "loomweight-bench-export"), list] = process.argv.slice(2);
const all = ["fp32", "bf16", "fp16", "q8", "int8", "q4", "q4f16", "bnb4", "in-place"];
const chosen = list === undefined ? all : list.split(",");

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Most bytes that were not pages of files. */
  readonly anonymous: number;
}

/** Runs node with these arguments, looking at it a few dozen times a second. */
async function measure(args: readonly string[]): Promise<Measured> {
  const began = performance.now();
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.on("data", (text: Buffer) => {
    errors += text.toString();
  });
  let [anonymous, ticks] = [0, 0];
  const look = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      anonymous = Math.max(anonymous, 1024 * Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0));
      const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1].split(" ");
      ticks = Number(fields[11]) + Number(fields[12]);
    } catch {
      // It has ended.
    }
  }, 20);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearInterval(look);
  if (code !== 0) throw new Error(`${args.join(" ")} failed:\n${errors}`);
  return { seconds: (performance.now() - began) / 1000, cpuSeconds: ticks / 100, anonymous };
}

function sizeOf(path: string): number {
  return readdirSync(path).reduce((sum, name) => sum + statSync(join(path, name)).size, 0);
}

const model = join(folder, "base");
if (!existsSync(join(model, "config.json"))) {
  mkdirSync(folder, { recursive: true });
  execFileSync(process.execPath, [join(root, "packages/merge/bench/make-models.mjs"), folder, "--models", "0"]);
}
console.log(`${cpus()[0]?.model ?? "?"}, ${cpus().length} cores, Node ${process.version}\n`);
console.log("| dtype | wall s | processor s | anonymous MB | file |\n| --- | ---: | ---: | ---: | ---: |");
for (const dtype of chosen) {
  const out = join(folder, "out");
  rmSync(out, { recursive: true, force: true });
  const placed = join(model, "model.onnx");
  const inPlace = dtype === "in-place";
  const target = inPlace ? ["--in-place", "--force"] : [out, "--dtype", dtype];
  const { seconds, cpuSeconds, anonymous } = await measure([command, "export", model, ...target, "--no-verify"]);
  const bytes = inPlace ? statSync(placed).size : sizeOf(join(out, "onnx"));
  rmSync(inPlace ? placed : out, { recursive: true, force: true });
  const numbers = [seconds.toFixed(1), cpuSeconds.toFixed(1), (anonymous / 1e6).toFixed(0)];
  console.log(`| ${dtype} | ${numbers.join(" | ")} | ${(bytes / 1e6).toFixed(1)} MB |`);
}
