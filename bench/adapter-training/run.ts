// A training step of LoRA and of DoRA (rank 8, every linear layer but the head) on a Llama of SmolLM-135M's shape, 1 × 128
// tokens, beside torch + PEFT: PYTHON=python3 node --conditions=@loomweight/source --import tsx bench/adapter-training/run.ts
// STEPS (default 6), ROUNDS (default 2) and THREADS (default 2) from the environment. Runs alternate; the better round
// counts. On a machine with other work take THREADS=1 and processor time: torch's threads spin while they wait.
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dora, lora } from "@loomweight/adapters";
import { openModel } from "@loomweight/checkpoint/node";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { fromData } from "@loomweight/tensor";
import { trainAdapter } from "@loomweight/train";

const python = process.env.PYTHON ?? "python3";
const steps = Number(process.env.STEPS ?? 6);
const rounds = Number(process.env.ROUNDS ?? 2);
const threads = Number(process.env.THREADS ?? 2);
const script = join(import.meta.dirname, "torch_step.py");

interface Timing {
  /** Medians, milliseconds a step. */
  readonly clock: number;
  readonly processor: number;
  readonly loss: number;
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function ours(
  folder: string,
  method: typeof lora | typeof dora,
  baseWeights: "shared" | "copied",
): Promise<Timing> {
  const base = await openModel(folder);
  const { model } = await buildModel(base, "text-generation", { fuse: "none" });
  const runtime = await createRuntime({ threads });
  const ids = BigInt64Array.from({ length: 128 }, (_, i) => BigInt(i * 7));
  const row = fromData("int64", ids, [1, 128]);
  const training = await trainAdapter({
    runtime,
    model,
    checkpoint: base.checkpoint,
    adapter: { method, options: { rank: 8, alpha: 16 } },
    batches: Array.from({ length: steps }, () => ({ input_ids: row, labels: row })),
    learningRate: 1e-4,
    baseWeights,
  });
  const clock: number[] = [];
  const processor: number[] = [];
  let loss = Number.NaN;
  let before = process.cpuUsage();
  for await (const metrics of training) {
    const { user, system } = process.cpuUsage(before);
    clock.push(metrics.milliseconds);
    processor.push((user + system) / 1000);
    loss = metrics.loss;
    before = process.cpuUsage();
  }
  await training.close();
  await runtime.close();
  await base.close();
  return { clock: median(clock.slice(1)), processor: median(processor.slice(1)), loss };
}

const theirs = (folder: string, name: string): Timing =>
  JSON.parse(
    execFileSync(python, [script, folder, name, `${steps}`, `${threads}`], { encoding: "utf8" })
      .trim()
      .split("\n")
      .at(-1) as string,
  ) as Timing;

const folder = await mkdtemp(join(tmpdir(), "loomweight-bench-"));
try {
  execFileSync(python, [script, folder]);
  const best = new Map<string, Timing>();
  for (let round = 0; round < rounds; round++) {
    for (const method of [lora, dora] as const) {
      const pair = {
        ours: await ours(folder, method, "shared"),
        peft: theirs(folder, method.name),
        "ours, copied": await ours(folder, method, "copied"),
      };
      for (const [who, timing] of Object.entries(pair)) {
        const known = best.get(`${method.name} ${who}`);
        if (known === undefined || timing.processor < known.processor) best.set(`${method.name} ${who}`, timing);
      }
    }
  }
  for (const [name, { clock, processor, loss }] of best) {
    console.log(
      `${name}: ${clock.toFixed(0)} ms, ${processor.toFixed(0)} ms of processor, last loss ${loss.toFixed(4)}`,
    );
  }
  const ratio = (a: string, b: string) => ((best.get(a)?.processor ?? 0) / (best.get(b)?.processor ?? 1)).toFixed(2);
  console.log(
    `LoRA: ${ratio("lora ours", "lora peft")} of PEFT's processor time (weights copied for each program: ${ratio("lora ours, copied", "lora peft")}); DoRA: ${ratio("dora ours", "lora ours")} of LoRA's`,
  );
} finally {
  await rm(folder, { recursive: true, force: true });
}
