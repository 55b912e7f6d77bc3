// Times merges of models made by make-models.mjs, with the built package: wall and processor time, peak anonymous memory.
// usage: node race.mjs MODELS OUT [method …]
import { readFileSync, rmSync } from "node:fs";
import { mergeModel } from "@loomweight/merge/node";

const [models, out, ...names] = process.argv.slice(2);
if (out === undefined) {
  console.error("usage: node race.mjs MODELS OUT [method …]");
  process.exit(2);
}
const base = `${models}/base`;
const tuned = [`${models}/tuned-1`, `${models}/tuned-2`];
const both = (parameters) => tuned.map((model) => ({ model, parameters }));
const recipes = {
  passthrough: { models: [{ model: base }], merge_method: "passthrough" },
  linear: { models: both({ weight: 0.5 }), merge_method: "linear" },
  task_arithmetic: { models: both({ weight: 0.3 }), merge_method: "task_arithmetic", base_model: base },
  slerp: { models: [{ model: tuned[0] }], merge_method: "slerp", base_model: base, parameters: { t: 0.4 } },
  ties: { models: both({ weight: 0.5, density: 0.5 }), merge_method: "ties", base_model: base },
  dare_ties: { models: both({ weight: 0.5, density: 0.5 }), merge_method: "dare_ties", base_model: base },
  dare_linear: { models: both({ weight: 0.5, density: 0.5 }), merge_method: "dare_linear", base_model: base },
  breadcrumbs: { models: both({ weight: 0.5, density: 0.5 }), merge_method: "breadcrumbs", base_model: base },
  della: { models: both({ weight: 0.5, density: 0.5 }), merge_method: "della", base_model: base },
  model_stock: { models: both({}), merge_method: "model_stock", base_model: base },
  karcher: { models: both({}), merge_method: "karcher" },
  sce: { models: both({}), merge_method: "sce", base_model: base, parameters: { select_topk: 0.5 } },
};

/** Anonymous memory of this process in MB. */
function anonymousMemory() {
  const line = /RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
  return line === null ? Number.NaN : Number(line[1]) / 1000;
}

for (const name of names.length > 0 ? names : Object.keys(recipes)) {
  let peak = 0;
  const before = anonymousMemory();
  const sample = () => {
    peak = Math.max(peak, anonymousMemory());
  };
  const start = performance.now();
  const cpu = process.cpuUsage();
  const report = await mergeModel(recipes[name], out, { force: true, onProgress: sample });
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const gigabytes = report.bytes / 1e9;
  console.log(
    `${name.padEnd(16)} ${seconds.toFixed(2)} s (cpu ${((user + system) / 1e6).toFixed(2)} s)  ${(gigabytes / seconds).toFixed(2)} GB/s written  peak ${peak.toFixed(0)} MB anonymous (${before.toFixed(0)} before)`,
  );
  rmSync(out, { recursive: true, force: true });
}
