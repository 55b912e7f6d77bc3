// Greedy decoding on the CPU: a prompt of 128 tokens, then new ones, by our graphs and by those of others, in processes of
// their own that take turns. Models of the shapes with random weights, and all exports, are made once in FOLDER (12 GB).
// PYTHON=python3 GENAI=…/models/builder.py node --conditions=@loomweight/source --import tsx bench/decoding/run.ts FOLDER
//   [shape…] [--threads 1,2] [--tokens 64] [--rounds 3] [--only ours] [--dynamo] [--operators 1]
// --operators N only prints where the time goes on N threads, of each graph. Figures: README.md.
// PYTHON (torch, transformers, onnx): exports by torch.onnx.export, and transformers itself. GENAI: onnxruntime-genai's builder.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type ExportModelOptions, exportFolder } from "@loomweight/onnx-export/node";
import { makeModel, type ShapeName, shapes } from "./models.ts";
import { describeTimes, operatorTimes } from "./profile.ts";

interface Figures {
  /** Milliseconds of the prompt, of a token in the middle, of the fastest token. */
  readonly prompt: number;
  readonly token: number;
  readonly least: number;
  /** The same in processor time of all threads. */
  readonly processor: { readonly prompt: number; readonly token: number };
  readonly peakMegabytes: number;
}

interface Contender {
  readonly name: string;
  readonly dtype: "fp32" | "q4";
  readonly ours: boolean;
  /** Of a graph that onnxruntime runs. */
  readonly path?: string;
  measure(threads: string): Figures | undefined;
}

const { values, positionals } = parseArgs({
  options: {
    threads: { type: "string", default: "1,2" },
    tokens: { type: "string", default: "64" },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
    dynamo: { type: "boolean", default: false },
    operators: { type: "string" },
  },
  allowPositionals: true,
});
const [root, ...names] = positionals;
if (root === undefined) throw new Error("Say where models and exports are kept: run.ts FOLDER [shape…]");
const { PYTHON: python, GENAI: genai } = process.env;
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const script = (name: string) => [process.execPath, [...process.execArgv, file(name)]] as const;

function run(command: string, args: readonly string[], threads = "2"): string | undefined {
  const env = { ...process.env, OMP_NUM_THREADS: threads };
  const { stdout, status, stderr } = spawnSync(command, args, { encoding: "utf8", env, maxBuffer: 2 ** 28 });
  if (status === 0) return stdout;
  console.error(`${command} ${args.join(" ")}: ${stderr.split("\n").slice(-3).join(" ")}`);
  return undefined;
}

const figuresOf = (text: string | undefined) => text && (JSON.parse(text.trim().split("\n").at(-1) ?? "") as Figures);

function graph(name: string, dtype: "fp32" | "q4", path: string, loop = "direct"): Contender {
  const [command, args] = script("decode.ts");
  return {
    name,
    dtype,
    ours: name.startsWith("ours"),
    ...(loop === "direct" && { path }),
    measure: (threads) => figuresOf(run(command, [...args, path, threads, values.tokens, loop], threads)) || undefined,
  };
}

/** Our exports: for any device and number of rows; for one row on the CPU, where a tied table is stored once; and of the last logits. */
const row = { devices: ["cpu"], batchSize: 1, quantize: { embeddings: "tied" } } as const;
const ways: Readonly<Record<string, ExportModelOptions>> = {
  default: {},
  "one row": row,
  "one row, last logits": { ...row, logitsToKeep: true },
};

/** Makes what is missing in the folder of a shape, and says who decodes it. */
async function contendersOf(shape: ShapeName): Promise<Contender[]> {
  const folder = join(root, shape);
  const model = join(folder, "model");
  if (!existsSync(model)) await makeModel(shape, model);
  // ours follow the code: made anew each time
  const found: Contender[] = [];
  for (const [kind, options] of Object.entries(ways)) {
    const out = join(folder, `ours-${kind}`);
    await exportFolder(model, out, { dtypes: ["fp32", "q4"], verify: false, force: true, ...options });
    const onnx = join(out, "onnx");
    found.push(graph(`ours, ${kind}`, "fp32", join(onnx, "model.onnx")));
    found.push(graph(`ours, ${kind}`, "q4", join(onnx, "model_q4.onnx")));
    if (kind === "default") {
      found.push(graph("ours, as loomweight run", "fp32", join(onnx, "model.onnx"), "session"));
      found.push(graph("ours, as loomweight run", "q4", join(onnx, "model_q4.onnx"), "session"));
    }
  }
  if (python === undefined || values.only === "ours") return found;
  for (const exporter of values.dynamo ? ["legacy", "dynamo"] : ["legacy"]) {
    const path = join(folder, `torch-${exporter}`, "model.onnx");
    if (!existsSync(path)) run(python, [file("torch_export.py"), model, path, exporter]);
    if (existsSync(path)) found.push(graph(`torch.onnx.export, ${exporter}`, "fp32", path));
  }
  for (const precision of genai === undefined ? [] : ["fp32", "int4"]) {
    const out = join(folder, `genai-${precision}`);
    const options = [
      "-p",
      precision,
      "-e",
      "cpu",
      "-c",
      join(root, "cache"),
      "--extra_options",
      "int4_accuracy_level=4",
    ];
    // it writes the graph before it looks for a tokenizer, of which there is none
    if (!existsSync(join(out, "model.onnx"))) run(python, [genai as string, "-i", model, "-o", out, ...options]);
    if (existsSync(join(out, "model.onnx")))
      found.push(graph("genai builder", precision === "fp32" ? "fp32" : "q4", join(out, "model.onnx")));
  }
  for (const attention of ["sdpa", "eager"]) {
    found.push({
      name: `transformers, ${attention}`,
      dtype: "fp32",
      ours: false,
      measure: (threads) =>
        figuresOf(run(python, [file("eager.py"), model, threads, values.tokens, attention], threads)) || undefined,
    });
  }
  return found;
}

/** Least of each figure over the rounds: what the machine can do when it is left alone. */
function least(rounds: readonly Figures[]): Figures {
  const of = (pick: (figures: Figures) => number) => Math.min(...rounds.map(pick));
  return {
    prompt: of((each) => each.prompt),
    token: of((each) => each.token),
    least: of((each) => each.least),
    processor: { prompt: of((each) => each.processor.prompt), token: of((each) => each.processor.token) },
    peakMegabytes: of((each) => each.peakMegabytes),
  };
}

const number = (value: number) => value.toFixed(value < 100 ? 1 : 0);

/** Who beats whom: our time against the best of the others, above 1 where we are faster. */
function printRatios(dtype: string, results: readonly (readonly [Contender, Figures])[]): void {
  const of = (ours: boolean, pick: (figures: Figures) => number) =>
    Math.min(...results.filter(([each]) => each.dtype === dtype && each.ours === ours).map(([, each]) => pick(each)));
  const picks = {
    prompt: (each: Figures) => each.prompt,
    token: (each: Figures) => each.least,
    "prompt, processor": (each: Figures) => each.processor.prompt,
    "token, processor": (each: Figures) => each.processor.token,
  };
  const ratios = Object.entries(picks).map(
    ([name, pick]) => `${name} ${(of(false, pick) / of(true, pick)).toFixed(2)}`,
  );
  console.log(`${dtype}, best of the others / ours: ${ratios.join(" · ")}\n`);
}

function printOperators(shape: ShapeName, contenders: readonly Contender[], threads: string): void {
  for (const { name, dtype, path } of contenders) {
    if (path === undefined) continue;
    const prefix = join(root, shape, "profile");
    const [command, args] = script("decode.ts");
    run(command, [...args, path, threads, values.tokens, "direct", prefix], threads);
    const written = readdirSync(dirname(prefix)).find((each) => each.startsWith("profile"));
    if (written === undefined) continue;
    for (const [what, times] of Object.entries(operatorTimes(join(root, shape, written)))) {
      console.log(`${dtype}, ${name}, ${what}: ${describeTimes(times)}`);
    }
    rmSync(join(root, shape, written));
  }
  console.log("");
}

mkdirSync(root, { recursive: true });
for (const shape of (names.length > 0 ? names : Object.keys(shapes)) as ShapeName[]) {
  const contenders = await contendersOf(shape);
  if (values.operators !== undefined) {
    printOperators(shape, contenders, values.operators);
    continue;
  }
  for (const threads of values.threads.split(",")) {
    const rounds = new Map<Contender, Figures[]>(contenders.map((each) => [each, []]));
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const contender of contenders) {
        const figures = contender.measure(threads);
        if (figures !== undefined) rounds.get(contender)?.push(figures);
      }
    }
    const results = contenders
      .filter((each) => (rounds.get(each) ?? []).length > 0)
      .map((each) => [each, least(rounds.get(each) ?? [])] as const);
    console.log(`${shape}, ${threads} thread(s), least of ${values.rounds} rounds, milliseconds\n`);
    console.log("| who | dtype | prompt | token | fastest token | prompt, processor | token, processor | MB |");
    console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (const [{ name, dtype }, each] of results) {
      const { prompt, token, processor, peakMegabytes } = each;
      const cells = [prompt, token, each.least, processor.prompt, processor.token].map(number);
      console.log(`| ${name} | ${dtype} | ${cells.join(" | ")} | ${peakMegabytes.toFixed(0)} |`);
    }
    console.log("");
    for (const dtype of ["fp32", "q4"]) printRatios(dtype, results);
  }
}
