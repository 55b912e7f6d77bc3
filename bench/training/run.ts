// Training steps beside PyTorch on the CPU, alternating, in processes of their own.
// PYTHON=python3 node --import tsx bench/training/run.ts [model…] [--threads 1,2] [--steps 30] [--rounds 3]
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { benchModels } from "./models.ts";

interface Figures {
  readonly milliseconds: number;
  readonly least: number;
  readonly peakMegabytes: number;
  readonly residentMegabytes?: readonly [number, number];
}

const { values, positionals } = parseArgs({
  options: {
    threads: { type: "string", default: "1,2" },
    steps: { type: "string", default: "30" },
    rounds: { type: "string", default: "3" },
  },
  allowPositionals: true,
});
const names = positionals.length > 0 ? positionals : Object.keys(benchModels);
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));

function measure(command: string, args: readonly string[], threads: string): Figures | undefined {
  const { stdout, status, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, OMP_NUM_THREADS: threads },
  });
  if (status === 0) return JSON.parse(stdout) as Figures;
  console.error(`${command} ${args[0]}: ${stderr.split("\n").slice(-3).join(" ")}`);
  return undefined;
}

/** Figures of the fastest round: what the machine can do when it is left alone. */
function best(rounds: readonly (Figures | undefined)[]): Figures | undefined {
  return rounds
    .filter((each) => each !== undefined)
    .sort((a, b) => a.milliseconds - b.milliseconds)
    .at(0);
}

console.log("| model | threads | here, ms | PyTorch, ms | ratio | here, MB | PyTorch, MB | memory 10 % → end, MB |");
console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
for (const name of names) {
  for (const threads of values.threads.split(",")) {
    const [ours, theirs]: (Figures | undefined)[][] = [[], []];
    for (let round = 0; round < Number(values.rounds); round++) {
      ours.push(
        measure(process.execPath, [...process.execArgv, file("steps.ts"), name, threads, values.steps], threads),
      );
      const python = process.env.PYTHON;
      if (python !== undefined)
        theirs.push(measure(python, [file("torch_steps.py"), name, threads, values.steps], threads));
    }
    const [a, b] = [best(ours), best(theirs)];
    const number = (value: number | undefined, digits = 2) => (value === undefined ? "–" : value.toFixed(digits));
    const ratio = a === undefined || b === undefined ? undefined : a.milliseconds / b.milliseconds;
    console.log(
      `| ${name} | ${threads} | ${number(a?.milliseconds)} | ${number(b?.milliseconds)} | ${number(ratio)} | ${number(a?.peakMegabytes, 0)} | ${number(b?.peakMegabytes, 0)} | ${a?.residentMegabytes?.map((mb) => mb.toFixed(0)).join(" → ") ?? "–"} |`,
    );
  }
}
