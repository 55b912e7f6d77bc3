// Step times of one model here: steps.ts MODEL THREADS STEPS, one JSON line as torch_steps.py's.
import { createRuntime } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { benchModels } from "./models.ts";

const [name, threads, steps] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const { batch, ...model } = benchModels[name]();
const runtime = await createRuntime({ threads });
const began = performance.now();
const training = await train({
  ...model,
  runtime,
  steps: steps + 3,
  *batches() {
    for (;;) yield batch;
  },
});
const times: number[] = [];
const resident: number[] = [];
let compile = 0;
for await (const { milliseconds } of training) {
  compile ||= performance.now() - began;
  times.push(milliseconds);
  resident.push(process.memoryUsage.rss() / 2 ** 20);
}
await training.close();
await runtime.close();
const sorted = times.slice(3).sort((a, b) => a - b);
console.log(
  JSON.stringify({
    milliseconds: sorted[Math.floor(sorted.length / 2)],
    least: sorted[0],
    peakMegabytes: process.resourceUsage().maxRSS / 1024,
    parameters: Object.values(model.parameters).reduce((sum, { data }) => sum + data.length, 0),
    compileMilliseconds: compile,
    // Memory at a tenth of the run and at its end: flat, or growing.
    residentMegabytes: [resident[Math.floor(resident.length / 10)], resident[resident.length - 1]],
  }),
);
