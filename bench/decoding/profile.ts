// Which operators take the time: profile.ts PROFILE.json, as decode.ts leaves it. Two tables, of the prompt and of a token.
import { readFileSync } from "node:fs";

interface Event {
  readonly cat: string;
  readonly name: string;
  readonly ts: number;
  readonly dur: number;
  readonly args?: { readonly op_name?: string };
}

/** Share of the processor time of each operator, in runs of the prompt and in runs of one token. */
export function operatorTimes(file: string): Record<"prompt" | "token", Map<string, number>> {
  const events = (JSON.parse(readFileSync(file, "utf8")) as Event[]).filter(({ dur }) => dur > 0);
  const runs = events.filter(({ name }) => name === "model_run").sort((a, b) => a.ts - b.ts);
  const kernels = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
  // decode.ts runs the prompt and a token to warm up, then the prompt and many tokens
  const prompt = runs[2];
  const times = (inside: readonly Event[]) => {
    const sums = new Map<string, number>();
    for (const { ts, dur, args } of kernels) {
      if (!inside.some((run) => ts >= run.ts && ts < run.ts + run.dur)) continue;
      const op = args?.op_name ?? "?";
      sums.set(op, (sums.get(op) ?? 0) + dur / 1000 / inside.length);
    }
    return new Map([...sums].sort((a, b) => b[1] - a[1]));
  };
  return { prompt: times([prompt]), token: times(runs.slice(3)) };
}

if (process.argv[1]?.endsWith("profile.ts")) {
  for (const [what, times] of Object.entries(operatorTimes(process.argv[2]))) {
    const total = [...times.values()].reduce((sum, each) => sum + each, 0);
    console.log(`${what}: ${total.toFixed(1)} ms in operators`);
    for (const [op, ms] of [...times].slice(0, 12)) console.log(`  ${ms.toFixed(2).padStart(9)} ms  ${op}`);
  }
}
