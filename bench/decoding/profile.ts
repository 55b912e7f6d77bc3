// Which operators take the time: profile.ts PROFILE.json, as decode.ts leaves it. Two tables, of the prompt and of a token.
import { readFileSync } from "node:fs";

interface Event {
  readonly cat: string;
  readonly name: string;
  readonly ts: number;
  readonly dur: number;
  readonly args?: { readonly op_name?: string };
}

export interface OperatorTimes {
  /** Milliseconds of each operator, longest first: each node's least time over the runs, which a busy machine hardly moves. */
  readonly operators: ReadonlyMap<string, number>;
  /** Milliseconds of all nodes. */
  readonly total: number;
  readonly nodes: number;
}

/** Time of each operator, in runs of the prompt and in runs of one token. */
export function operatorTimes(file: string): Record<"prompt" | "token", OperatorTimes> {
  const events = (JSON.parse(readFileSync(file, "utf8")) as Event[]).filter(({ dur }) => dur >= 0);
  const runs = events.filter(({ name }) => name === "model_run").sort((a, b) => a.ts - b.ts);
  const kernels = events.filter(({ cat, name }) => cat === "Node" && name.endsWith("_kernel_time"));
  const times = (inside: readonly Event[]): OperatorTimes => {
    const least = new Map<string, { op: string; ms: number }>();
    for (const { name, ts, dur, args } of kernels) {
      if (!inside.some((run) => ts >= run.ts && ts < run.ts + run.dur)) continue;
      const known = least.get(name);
      const ms = dur / 1000;
      if (known === undefined || ms < known.ms) least.set(name, { op: args?.op_name ?? "?", ms });
    }
    const sums = new Map<string, number>();
    for (const { op, ms } of least.values()) sums.set(op, (sums.get(op) ?? 0) + ms);
    const total = [...sums.values()].reduce((sum, each) => sum + each, 0);
    return { operators: new Map([...sums].sort((a, b) => b[1] - a[1])), total, nodes: least.size };
  };
  // decode.ts runs the prompt and a token to warm up, then the prompt and many tokens
  return { prompt: times([runs[0], runs[2]]), token: times(runs.slice(3)) };
}

/** "12.3 ms in 334 nodes: MatMulNBits 7.2, GroupQueryAttention 1.8, …" */
export function describeTimes({ operators, total, nodes }: OperatorTimes, most = 6): string {
  const parts = [...operators].slice(0, most).map(([op, ms]) => `${op} ${ms.toFixed(2)}`);
  return `${total.toFixed(1)} ms in ${nodes} nodes: ${parts.join(", ")}`;
}

if (process.argv[1]?.endsWith("profile.ts")) {
  for (const [what, times] of Object.entries(operatorTimes(process.argv[2]))) {
    console.log(`${what}: ${describeTimes(times, 12)}`);
  }
}
