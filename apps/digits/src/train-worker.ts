import { batches, type Dataset, sliceSamples } from "@loomweight/data";
import { input, type Program, type Runtime, relu, reshape, softmax, stateValue, type Value } from "@loomweight/graph";
import { accuracy, crossEntropy, initLinear, linear } from "@loomweight/graph/nn";
import { type Training, train } from "@loomweight/graph/training";
import { createRuntime } from "@loomweight/graph/web";
import { adamw, cosineSchedule } from "@loomweight/optim";
import { createRandom, fromData, type Tensor } from "@loomweight/tensor";
import * as ort from "onnxruntime-web/wasm";
import { fetchDigits } from "./digits.ts";
import type { News, Question } from "./protocol.ts";

const batchSize = 64;
const tell = (news: News) => postMessage(news);

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // threads need headers that static hosts do not send

/** A hidden layer of 128: logits [n, 10] of pixels [n, 784]. */
function classify(weights: Readonly<Record<string, Value>>, pixels: Value): Value {
  return linear(weights, "head", relu(linear(weights, "hidden", pixels)));
}

async function readDigits(): Promise<{ train: Dataset; test: Dataset }> {
  const { pixels, labels } = await fetchDigits();
  const all: Record<string, Tensor> = {
    pixels: fromData("float32", pixels, [10000, 784]),
    labels: fromData("int32", labels, [10000]),
  };
  return { train: sliceSamples(all, 0, 8000), test: sliceSamples(all, 8000) };
}

/** The training under way or done, and what reads drawings with its weights. */
interface Held {
  readonly training: Training;
  readonly reader: Program;
}

async function start(): Promise<(question: Question) => Promise<void>> {
  const [runtime, digits] = await Promise.all([createRuntime({ ort }), readDigits()]);
  let held: Held | undefined;
  let stopped = false;
  tell({ kind: "ready", train: 8000, test: 2000 });
  return async (question) => {
    if (question.kind === "stop") {
      stopped = true;
    } else if (question.kind === "read") {
      if (held !== undefined) tell({ kind: "seen", probabilities: await readDrawing(held.reader, question.pixels) });
    } else {
      await held?.reader.close();
      await held?.training.close();
      stopped = false;
      held = await begin(runtime, digits, question);
      await run(held.training, question, () => stopped);
    }
  };
}

async function begin(
  runtime: Runtime,
  digits: { train: Dataset; test: Dataset },
  { epochs, learningRate, seed }: Question & { kind: "train" },
): Promise<Held> {
  const random = createRandom(seed, "digits");
  const training = await train({
    runtime,
    parameters: {
      ...initLinear(random, "hidden", { inputs: 784, outputs: 128 }),
      ...initLinear(random, "head", { inputs: 128, outputs: 10 }),
    },
    loss: (weights, { pixels, labels }) => crossEntropy(classify(weights, pixels), labels, { ignore: null }),
    optimizer: adamw({ weightDecay: 0.05 }),
    learningRate: cosineSchedule({ rate: learningRate, steps: stepsOf(epochs) }),
    batches: (position) => batches(digits.train, { batchSize, epochs, shuffle: seed, skip: position }),
    evaluation: {
      batches: () => batches(digits.test, { batchSize: 500 }),
      metrics: (weights, { pixels, labels }) => ({ accuracy: accuracy(classify(weights, pixels), labels) }),
    },
    seed,
  });
  const { state } = training;
  const weights = Object.fromEntries(
    [...state.tensors].map(([name, { dtype, shape }]) => [name, stateValue(name, dtype, shape)]),
  );
  const pixels = input("pixels", "float32", [1, 784]);
  const probabilities = reshape(softmax(classify(weights, pixels)), [10]);
  return { training, reader: await runtime.compile({ outputs: { probabilities } }, state) };
}

const stepsOf = (epochs: number) => epochs * Math.ceil(8000 / batchSize);

async function run(training: Training, { epochs }: { epochs: number }, isStopped: () => boolean): Promise<void> {
  const steps = stepsOf(epochs);
  for await (const { step, loss, milliseconds } of training) {
    const due = step % 25 === 0 || step === steps;
    const measured = due ? await training.evaluate() : undefined;
    tell({ kind: "step", step, steps, loss, milliseconds, accuracy: measured?.accuracy });
    // Runs go on without a pause: let a message of the page in.
    await new Promise((resolve) => setTimeout(resolve));
    if (isStopped()) break;
  }
  const { accuracy: share } = await training.evaluate();
  tell({ kind: "done", stopped: isStopped(), accuracy: share });
}

async function readDrawing(reader: Program, pixels: Float32Array): Promise<number[]> {
  const { probabilities } = await reader.run({ pixels: fromData("float32", pixels, [1, 784]) });
  return Array.from(probabilities.data as Float32Array);
}

const fail = (cause: unknown) =>
  tell({ kind: "failed", message: cause instanceof Error ? cause.message : String(cause) });
const answering = start();
answering.catch(fail);
addEventListener("message", ({ data }: MessageEvent<Question>) => {
  answering.then((answer) => answer(data)).catch(fail);
});
