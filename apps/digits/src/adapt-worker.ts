import { dora, foldAdapters, lora, miss, openAdapter } from "@loomweight/adapters";
import type { Attachment } from "@loomweight/adapters/attach";
import { fileSetFromMap, openModelFromFileSet, writeSafetensors } from "@loomweight/checkpoint";
import { batches, type Dataset } from "@loomweight/data";
import { importOnnx, input, type Program, type Runtime, softmax, stateValue } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/web";
import { buildModel } from "@loomweight/models";
import { cosineSchedule } from "@loomweight/optim";
import { fromData, type Tensor } from "@loomweight/tensor";
import { type AdapterTraining, trainAdapter } from "@loomweight/train";
import type { AdaptNews, AdaptQuestion, AdaptSettings, Example, Scores } from "./adapt-protocol.ts";
import { area, type Change, changed, moved, side } from "./changes.ts";
import { type Digits, fetchDigits } from "./digits.ts";

const batchSize = 32;
/** Digits that are scored; training never sees them. */
const scored = 1000;
/** Digits that are scored at once. */
const scoreBatch = 250;
const methods = { lora, dora, miss } as const;
const targets = { attention: ["query", "key", "value"], "all-linear": "all-linear" } as const;
const tell = (news: AdaptNews) => postMessage(news);

/** onnxruntime-web in the build that a provider needs; on one thread, since more need headers that static hosts do not send. */
async function runtimeOn(provider: AdaptSettings["provider"]): Promise<Runtime> {
  const ort = await (provider === "webgpu" ? import("onnxruntime-web/webgpu") : import("onnxruntime-web/wasm"));
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  return createRuntime({ ort, providers: provider === "webgpu" ? ["webgpu", "wasm"] : ["wasm"] });
}

async function fetchModel() {
  const files = new Map<string, Uint8Array>();
  for (const name of ["config.json", "model.safetensors"]) {
    const response = await fetch(new URL(`./glyph/${name}`, import.meta.url));
    if (!response.ok) throw new Error(`the model cannot be read: ${response.status} for ${name}`);
    files.set(name, new Uint8Array(await response.arrayBuffer()));
  }
  const folder = await openModelFromFileSet(fileSetFromMap(files, "glyph-base"));
  const { model } = await buildModel(folder, "image-classification", { fuse: "none" });
  return { folder, model: await importOnnx(model) };
}

async function hasWebGpu(): Promise<boolean> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  return (await gpu?.requestAdapter().catch(() => null)) != null;
}

/** Programs that read digits without and with an adapter, from the state of its training. */
interface Held {
  readonly training: AdapterTraining;
  readonly one: Program;
  readonly many: Program;
}

async function start(): Promise<(question: AdaptQuestion) => Promise<void>> {
  const [{ folder, model }, digits, webgpu] = await Promise.all([fetchModel(), fetchDigits(), hasWebGpu()]);
  const upright = part(digits, 9000, scored);
  let runtime: { readonly provider: string; readonly made: Promise<Runtime> } | undefined;
  let held: Held | undefined;
  let stopped = false;
  const weights = [...folder.checkpoint.tensors.values()].reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
  tell({ kind: "ready", weights, webgpu, samples: part(digits, 0, 10).pixels });

  const close = async () => {
    await held?.one.close();
    await held?.many.close();
    await held?.training.close();
    held = undefined;
  };

  const adapt = async (settings: AdaptSettings) => {
    await close();
    stopped = false;
    if (runtime?.provider !== settings.provider) {
      runtime = { provider: settings.provider, made: runtimeOn(settings.provider) };
    }
    const made = await runtime.made;
    const { learn, judge } =
      typeof settings.task === "string" ? changedDigits(digits, settings) : drawings(settings.task);
    const steps = settings.epochs * Math.ceil(learn.labels.length / batchSize);
    const method = methods[settings.method];
    const training = await trainAdapter({
      runtime: made,
      model,
      checkpoint: folder.checkpoint,
      adapter: {
        method,
        options: { rank: settings.rank, ...("alpha" in method.options && { alpha: 2 * settings.rank }) },
        targets: targets[settings.targets],
      },
      objective: "classes",
      learningRate: cosineSchedule({ rate: settings.learningRate, steps }),
      seed: settings.seed,
      batches: (position) =>
        batches(dataset(learn), { batchSize, epochs: settings.epochs, shuffle: settings.seed, skip: position }),
    });
    const { state } = training.training;
    const { attachment } = training;
    held = {
      training,
      one: await made.compile({ outputs: read(attachment, 1) }, state),
      many: await made.compile({ outputs: read(attachment, scoreBatch) }, state),
    };
    const { many } = held;
    const scores = async (kind: "base" | "adapted"): Promise<Scores> => ({
      task: await share(many, kind, judge),
      upright: await share(many, kind, upright),
    });
    tell({ kind: "begun", trainable: training.trainable, before: await scores("base") });
    const some = part(judge, 0, Math.min(scoreBatch, judge.labels.length));
    for await (const { step, loss, milliseconds } of training) {
      const due = step % 10 === 0 || step === steps;
      tell({
        kind: "step",
        step,
        steps,
        loss,
        milliseconds,
        accuracy: due ? await share(many, "adapted", some) : undefined,
      });
      // Runs go on without a pause: let a message of the page in.
      await new Promise((resolve) => setTimeout(resolve));
      if (stopped) break;
    }
    tell({ kind: "done", stopped, after: await scores("adapted"), files: await filesOf(training, folder) });
  };

  return async (question) => {
    if (question.kind === "stop") stopped = true;
    else if (question.kind === "adapt") await adapt(question);
    else if (held !== undefined) {
      const { base, adapted } = await held.one.run({ pixel_values: pixelTensor(question.pixels) });
      tell({ kind: "seen", base: [...(base.data as Float32Array)], adapted: [...(adapted.data as Float32Array)] });
    }
  };
}

/** Probabilities [rows, 10] of the model alone and with its adapter. */
function read(attachment: Attachment, rows: number) {
  const pixel_values = input("pixel_values", "float32", [rows, 1, side, side]);
  const parameters = Object.fromEntries(
    Object.entries(attachment.parameters).map(([name, { dtype, shape }]) => [name, stateValue(name, dtype, shape)]),
  );
  const { logits } = attachment.instantiate({ inputs: { pixel_values }, parameters }).outputs;
  const base = attachment.instantiate({ inputs: { pixel_values }, active: [], prefix: "base" }).outputs.logits;
  return { base: softmax(base), adapted: softmax(logits) };
}

async function share(program: Program, kind: "base" | "adapted", { pixels, labels }: Digits): Promise<number> {
  let right = 0;
  for (let from = 0; from < labels.length; from += scoreBatch) {
    const rows = new Float32Array(scoreBatch * area); // the last batch is filled up; what fills it is not counted
    rows.set(pixels.subarray(from * area, (from + scoreBatch) * area));
    const outputs = await program.run({ pixel_values: pixelTensor(rows) });
    const probabilities = outputs[kind].data as Float32Array;
    for (let row = 0; row < Math.min(scoreBatch, labels.length - from); row++) {
      const own = probabilities.subarray(10 * row, 10 * row + 10);
      if (own.indexOf(Math.max(...own)) === labels[from + row]) right++;
    }
  }
  return right / labels.length;
}

function changedDigits(digits: Digits, { task, examples }: AdaptSettings): { learn: Digits; judge: Digits } {
  const change = ({ pixels, labels }: Digits) => ({ pixels: changed(pixels, task as Change), labels });
  return { learn: change(part(digits, 0, examples)), judge: change(part(digits, 8000, scored)) };
}

/** Each drawing in 32 places near its own to learn from, and as it was drawn to be scored. */
function drawings(examples: readonly Example[]): { learn: Digits; judge: Digits } {
  const copies = Array.from({ length: 32 }, (_, i) => [(i % 6) - 2, Math.floor(i / 6) - 2] as const);
  const all = examples.flatMap(({ pixels, label }) =>
    copies.map(([right, down]) => ({ pixels: moved(pixels, right, down), label })),
  );
  return { learn: joined(all), judge: joined(examples) };
}

function joined(examples: readonly Example[]): Digits {
  const pixels = new Float32Array(examples.length * area);
  for (const [i, each] of examples.entries()) pixels.set(each.pixels, i * area);
  return { pixels, labels: Int32Array.from(examples, ({ label }) => label) };
}

function part({ pixels, labels }: Digits, from: number, count: number): Digits {
  return { pixels: pixels.slice(from * area, (from + count) * area), labels: labels.slice(from, from + count) };
}

function dataset({ pixels, labels }: Digits): Dataset {
  const rows: Record<string, Tensor> = {
    pixel_values: pixelTensor(pixels),
    labels: fromData("int32", labels, [labels.length]),
  };
  return rows;
}

function pixelTensor(pixels: Float32Array): Tensor {
  return fromData("float32", pixels, [pixels.length / area, 1, side, side]);
}

/** PEFT's two files of the adapter, and the model's weights with it folded in. */
async function filesOf(
  training: AdapterTraining,
  { checkpoint, config }: Awaited<ReturnType<typeof fetchModel>>["folder"],
) {
  const { config: text, weights } = await training.files({ config: { base_model_name_or_path: "glyph-base" } });
  const files = new Map([
    ["adapter_config.json", new TextEncoder().encode(text)],
    ["adapter_model.safetensors", weights],
  ]);
  const adapter = await openAdapter(fileSetFromMap(files, "the adapter"));
  const folded = foldAdapters({ checkpoint, config }, [adapter]).checkpoint;
  const tensors = new Map<string, Tensor>();
  for (const name of folded.tensors.keys()) tensors.set(name, await folded.read(name));
  files.set("model.safetensors", writeSafetensors(tensors, { metadata: { format: "pt" } }));
  return files as ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

const fail = (cause: unknown) =>
  tell({ kind: "failed", message: cause instanceof Error ? cause.message : String(cause) });
const answering = start();
answering.catch(fail);
addEventListener("message", ({ data }: MessageEvent<AdaptQuestion>) => {
  answering.then((answer) => answer(data)).catch(fail);
});
