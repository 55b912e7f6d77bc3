// npm run demo: the main job on small trained models. Two merges by recipe, a folded adapter, exports, evaluation, and
// transformers.js loading what came out. Everything it writes lies in demo-output/.
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import { exportFolder } from "@loomweight/onnx-export/node";
import { formatBytes, formatDuration } from "../../packages/cli/src/output/format.ts";
import { formatTable } from "../../packages/cli/src/output/table.ts";
import { imageAccuracy, type Scores, textLoss } from "./evaluate.ts";
import { classifyImages, writeText } from "./pipelines.ts";
import { runStep, type StepRecord } from "./steps.ts";

const began = performance.now();
const out = "demo-output";
const scribe = "fixtures/models/scribe";
const glyph = "fixtures/models/glyph";
const steps: StepRecord[] = [];

/** Names of the models in the tables, and the folders they lie in. */
const texts = {
  base: `${scribe}/scribe-base`,
  "plays (fine-tune)": `${scribe}/scribe-plays`,
  "verse (fine-tune)": `${scribe}/scribe-verse`,
  "merged: plays + verse": `${out}/scribe-merged`,
  "folded: base + names adapter": `${out}/scribe-folded`,
};
const images = {
  base: `${glyph}/glyph-base`,
  "rotated (fine-tune)": `${glyph}/glyph-rotated`,
  "noisy (fine-tune)": `${glyph}/glyph-noisy`,
  "merged: rotated + noisy": `${out}/glyph-merged`,
};

await rm(out, { recursive: true, force: true });
await mkdir(join(out, "members"), { recursive: true });

heading("Merge, fold, export");
await writeFile(`${out}/scribe.yml`, linearRecipe(["scribe-plays", "scribe-verse"], scribe, "bfloat16"));
await writeFile(`${out}/glyph.yml`, linearRecipe(["glyph-rotated", "glyph-noisy"], glyph, "float32"));
await step("merge plays + verse", "merge", `${out}/scribe.yml`, `${out}/scribe-merged`);
await step("merge rotated + noisy", "merge", `${out}/glyph.yml`, `${out}/glyph-merged`);
const adapter = `${scribe}/scribe-lora-names`;
await step("fold the names adapter", "fold", `${scribe}/scribe-base`, adapter, "--out", `${out}/scribe-folded`);
await step("export the merged text model", "export", `${out}/scribe-merged`, `${out}/scribe-web`, "--dtype", "fp32,q4");
await step("export the folded one", "export", `${out}/scribe-folded`, `${out}/scribe-folded-web`, "--dtype", "fp32");
await step("export the merged image model", "export", `${out}/glyph-merged`, `${out}/glyph-web`, "--dtype", "fp32,q4");
console.log("");
printTable(
  ["step", "time", "peak memory"],
  steps.map(({ name, milliseconds, peakBytes }) => [name, formatDuration(milliseconds), formatBytes(peakBytes)]),
);

heading("What was written");
printTable(["file", "size"], await filesWritten());

heading("Loss in nats per token on held-out text (lower is better)");
const exportsOf = (models: Readonly<Record<string, string>>) => exportMembers(models);
const textFiles = { ...(await exportsOf(texts)), "merged, 4-bit": `${out}/scribe-web/onnx/model_q4.onnx` };
const losses = await scoreAll(textFiles, (file) => textLoss(file, `${scribe}/eval.safetensors`));
printScores(losses, ["plays", "names", "verse"], (loss) => loss.toFixed(3));

heading("Accuracy on digits (higher is better)");
const imageFiles = { ...(await exportsOf(images)), "merged, 4-bit": `${out}/glyph-web/onnx/model_q4.onnx` };
const accuracies = await scoreAll(imageFiles, (file) => imageAccuracy(file, `${glyph}/eval.safetensors`));
printScores(accuracies, ["upright", "rotated", "noisy"], (share) => `${(100 * share).toFixed(1)} %`);

heading('What they write after "JULIET:\\nGood" (transformers.js, greedy)');
for (const [name, folder] of Object.entries(texts)) await sample(name, folderOf(name, folder), "fp32");
await sample("merged, 4-bit", `${out}/scribe-web`, "q4");

heading("What the merge sees in noisy, rotated digits (transformers.js, 4-bit)");
const evaluation = await openCheckpoint(`${glyph}/eval.safetensors`);
for (const domain of ["noisy", "rotated"]) {
  const seen = await classifyImages(`${out}/glyph-web`, "q4", await evaluation.read(`images.${domain}`), 12);
  const labels = [...((await evaluation.read("labels")).data as BigInt64Array).subarray(0, 12)].map(String);
  console.log(`${domain.padEnd(8)} sees ${seen.join(" ")}   labels ${labels.join(" ")}`);
}
await evaluation.close();

console.log(`
All of it in ${formatDuration(performance.now() - began)}. With your own folders:

  npx loomweight inspect path/to/model
  npx loomweight merge ${out}/scribe.yml merged       # put your models into the recipe
  npx loomweight fold path/to/base path/to/adapter --out folded
  npx loomweight export merged web --dtype fp32,q4
  npx loomweight run web "Your prompt"

and in your page or service: pipeline("text-generation", "web", { dtype: "q4" }).`);

async function step(name: string, ...words: string[]): Promise<void> {
  console.log(`$ npx loomweight ${words.join(" ")}`);
  steps.push(await runStep(name, words, out));
}

function heading(text: string): void {
  console.log(`\n${text}\n`);
}

function printTable(titles: readonly string[], rows: readonly (readonly string[])[]): void {
  const columns = titles.map((title, i) => ({ title, align: i === 0 ? ("left" as const) : ("right" as const) }));
  for (const line of formatTable(columns, rows)) console.log(line);
}

function printScores(
  rows: ReadonlyMap<string, Scores>,
  domains: readonly string[],
  format: (score: number) => string,
): void {
  printTable(
    ["model", ...domains],
    [...rows].map(([name, scores]) => [name, ...domains.map((domain) => format(scores[domain]))]),
  );
}

async function scoreAll(
  files: Readonly<Record<string, string>>,
  score: (file: string) => Promise<Scores>,
): Promise<Map<string, Scores>> {
  const rows = new Map<string, Scores>();
  for (const [name, file] of Object.entries(files)) rows.set(name, await score(file));
  return rows;
}

/** The folder of a model's export: made by a step above, or here for the members. */
function folderOf(name: string, folder: string): string {
  if (name.startsWith("merged")) return folder.replace("-merged", "-web");
  if (name.startsWith("folded")) return folder.replace("-folded", "-folded-web");
  return join(out, "members", folder.split("/").at(-1) ?? "");
}

/** fp32 graphs of every model; members are exported on the way, to measure them the same way. */
async function exportMembers(models: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const [name, folder] of Object.entries(models)) {
    const exported = folderOf(name, folder);
    if (exported.startsWith(join(out, "members"))) {
      await exportFolder(folder, exported, { dtypes: ["fp32"], verify: false });
    }
    files[name] = join(exported, "onnx/model.onnx");
  }
  return files;
}

async function filesWritten(): Promise<string[][]> {
  const rows: string[][] = [];
  for (const folder of [
    "scribe-merged",
    "scribe-folded",
    "glyph-merged",
    "scribe-web/onnx",
    "scribe-folded-web/onnx",
    "glyph-web/onnx",
  ]) {
    for (const name of (await readdir(join(out, folder))).sort()) {
      if (!/\.(safetensors|onnx)(_data.*)?$/.test(name)) continue;
      const path = join(out, folder, name);
      rows.push([path, formatBytes((await stat(path)).size)]);
    }
  }
  return rows;
}

async function sample(name: string, folder: string, dtype: "fp32" | "q4"): Promise<void> {
  const text = await writeText(folder, dtype, "JULIET:\nGood", 24);
  console.log(`${name.padEnd(29)} ${JSON.stringify(text)}`);
}

function linearRecipe(models: readonly string[], folder: string, dtype: string): string {
  const entries = models.map((model) => `  - model: ../${folder}/${model}\n    parameters: { weight: 0.5 }\n`);
  return `merge_method: linear\nmodels:\n${entries.join("")}dtype: ${dtype}\n`;
}
