// Somebody's inference file, fine-tuned: an image classifier in ONNX learns inverted digits.
// Its attention stays as it is, the rest of its weights change, and the result is an ONNX file again.
// npm run example fine-tune-onnx [IN.onnx OUT.onnx]
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { batches, type Dataset } from "@loomweight/data";
import {
  assemble,
  findParameters,
  type GraphValue,
  importOnnx,
  input,
  instantiate,
  lazyTensor,
  neg,
  parameter,
  type Value,
} from "@loomweight/graph";
import { accuracy, crossEntropy } from "@loomweight/graph/nn";
import { createRuntime, openOnnxFile, writeOnnxFile } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { exportFolder } from "@loomweight/onnx-export/node";
import { adamw } from "@loomweight/optim";
import type { Tensor } from "@loomweight/tensor";
import { readDigits } from "./data.ts";
import { isMain } from "./main.ts";

/** The bundled classifier, exported as anybody would. */
async function exportedClassifier(): Promise<string> {
  const model = fileURLToPath(new URL("../fixtures/models/glyph/glyph-base", import.meta.url));
  const out = join(await mkdtemp(join(tmpdir(), "loomweight-")), "glyph");
  await exportFolder(model, out, { dtypes: ["fp32"] });
  return join(out, "onnx", "model.onnx");
}

/** White on black becomes black on white. */
function inverted<D extends Dataset>({ pixels, ...rest }: D): D {
  return { ...rest, pixels: neg(pixels) as Tensor } as unknown as D;
}

/** Trains on inverted digits for `steps`; gives the accuracy on 2,000 others before and after. */
export async function fineTuneOnnx({
  from,
  to,
  steps = 125,
  log = console.log,
}: {
  from?: string;
  to?: string;
  steps?: number;
  log?: (line: string) => void;
} = {}): Promise<{ before: number; after: number }> {
  const file = await openOnnxFile(from ?? (await exportedClassifier()));
  const imported = await importOnnx(file.model);
  const digits = await readDigits();
  const samples = inverted(digits.train);
  const test = inverted(digits.test);
  /** One call of the file's graph with these weights. */
  const classify = (parameters: Readonly<Record<string, Value>>, pixels: Value) =>
    instantiate(imported, { inputs: { pixel_values: pixels }, parameters }).outputs.logits;

  const runtime = await createRuntime();
  const weights = findParameters(imported, /./);
  const training = await train({
    runtime,
    parameters: Object.fromEntries(
      [...weights].map(([name, { data }]) => [name, data as NonNullable<GraphValue["data"]>]),
    ),
    trainable: (name) => !/query|key|value/.test(name),
    loss: (parameters, { pixels, labels }) => crossEntropy(classify(parameters, pixels), labels, { ignore: null }),
    optimizer: adamw(),
    learningRate: 1e-3,
    steps,
    batches: (position) => batches(samples, { batchSize: 64, shuffle: 2, skip: position }),
    evaluation: {
      batches: () => batches(test, { batchSize: 500 }),
      metrics: (parameters, { pixels, labels }) => ({ accuracy: accuracy(classify(parameters, pixels), labels) }),
    },
  });
  const before = (await training.evaluate()).accuracy;
  log(`inverted digits before: ${(100 * before).toFixed(1)} % right`);
  for await (const { step, loss } of training) if (step % 25 === 0) log(`step ${step}  loss ${loss.toFixed(3)}`);
  const after = (await training.evaluate()).accuracy;

  if (to !== undefined) {
    const trained = await training.parameters();
    const values = Object.fromEntries(
      Object.entries(trained).map(([name, tensor]) => [name, parameter(name, lazyTensor(tensor))]),
    );
    const pixels = input("pixel_values", "float32", ["batch_size", 1, 28, 28]);
    const { outputs, opsets } = instantiate(imported, { inputs: { pixel_values: pixels }, parameters: values });
    await writeOnnxFile(to, assemble({ name: "fine-tuned", inputs: [pixels], outputs, opset: opsets[""] }));
    log(`written: ${to}`);
  }
  await training.close();
  await runtime.close();
  await file.close();
  return { before, after };
}

if (isMain(import.meta.url)) {
  const [from, to] = process.argv.slice(2);
  const { after } = await fineTuneOnnx({ from, to: to ?? "fine-tuned.onnx" });
  console.log(`inverted digits after: ${(100 * after).toFixed(1)} % right`);
}
