// Times merges of models made by make-models.mjs, with the built package, and prints a Markdown table: wall and processor
// time, how many times as long as copying as many bytes, peak anonymous memory, and the aims for models of 0.5B.
// Each method runs in a process of its own. Best of --runs (1).
// usage: node race.mjs MODELS OUT [all | method …] [--runs N]
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { mergeModel } from "@loomweight/merge/node";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: "string", default: "1" }, one: { type: "boolean", default: false } },
});
const [models, out, ...given] = positionals;
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

/** Seconds that a merge of the 0.5B shape is to take on two idle cores, tmpfs to tmpfs. */
const aims = { ties: 6, dare_ties: 5, breadcrumbs: 7, della: 10, sce: 6, karcher: 6 };

const names = given.length === 0 || given[0] === "all" ? Object.keys(recipes) : given;
const unknown = names.find((name) => !Object.hasOwn(recipes, name));
if (out === undefined || unknown !== undefined) {
  if (unknown !== undefined) console.error(`unknown method ${unknown}; known: ${Object.keys(recipes).join(", ")}`);
  console.error("usage: node race.mjs MODELS OUT [all | method …] [--runs N]");
  process.exit(2);
}

/** Anonymous memory of this process in MB. */
function anonymousMemory() {
  const line = /RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
  return line === null ? Number.NaN : Number(line[1]) / 1000;
}

/** One merge in this process: its figures as JSON. */
async function runOne(name) {
  let peak = 0;
  const sample = () => {
    peak = Math.max(peak, anonymousMemory());
  };
  const start = performance.now();
  const cpu = process.cpuUsage();
  await mergeModel(recipes[name], out, { force: true, onProgress: sample });
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  rmSync(out, { recursive: true, force: true });
  console.log(JSON.stringify({ seconds, processor: (user + system) / 1e6, peak }));
}

/** Seconds to copy one model's weights to where the output goes: the best of three. */
function copySeconds() {
  const file = `${base}/model.safetensors`;
  mkdirSync(out, { recursive: true });
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3; run++) {
    const start = performance.now();
    copyFileSync(file, `${out}/copy`);
    best = Math.min(best, (performance.now() - start) / 1000);
    rmSync(`${out}/copy`);
  }
  rmSync(out, { recursive: true });
  return best;
}

function figuresOf(name) {
  const runs = Array.from({ length: Number(values.runs) }, () => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [process.argv[1], models, out, name, "--one"], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`${name} failed:\n${stderr}`);
    return JSON.parse(stdout);
  });
  return runs.reduce((best, run) => ({
    seconds: Math.min(best.seconds, run.seconds),
    processor: Math.min(best.processor, run.processor),
    peak: Math.max(best.peak, run.peak),
  }));
}

if (values.one) await runOne(names[0]);
else {
  const gigabytes = statSync(`${base}/model.safetensors`).size / 1e9;
  const copying = copySeconds();
  console.log(`Copying one model (${gigabytes.toFixed(2)} GB): ${copying.toFixed(2)} s\n`);
  console.log("| method | time | × copying | processor time | anonymous memory | aim |");
  console.log("| --- | --- | --- | --- | --- | --- |");
  for (const name of names) {
    const { seconds, processor, peak } = figuresOf(name);
    const aim = aims[name] === undefined ? "" : `${aims[name]} s`;
    const cells = [name.replaceAll("_", " "), `${seconds.toFixed(1)} s`, (seconds / copying).toFixed(1)];
    console.log(`| ${[...cells, `${processor.toFixed(1)} s`, `${peak.toFixed(0)} MB`, aim].join(" | ")} |`);
  }
}
