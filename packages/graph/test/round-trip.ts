import { bytesSource } from "@loomweight/checkpoint";
import { createRandom, type DType, LoomweightError, type Tensor } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";
import {
  assemble,
  checkModel,
  encodeOnnx,
  type GraphValue,
  importOnnx,
  instantiate,
  isGraphValue,
  normalizeModel,
  type OnnxModel,
  readOnnx,
  subgraphsOf,
} from "../src/index.ts";

export type Feeds = Readonly<Record<string, ort.Tensor>>;

const quiet = { graphOptimizationLevel: "disabled", logSeverityLevel: 4 } as const;

export async function runModel(model: Uint8Array, feeds: Feeds): Promise<Record<string, ort.Tensor>> {
  const session = await ort.InferenceSession.create(model, quiet);
  try {
    return { ...(await session.run(feeds)) };
  } finally {
    await session.release();
  }
}

/** Sizes tried for what a file leaves open, until the model runs: batch 1, then images, sound and windows of features. */
const sizes = [64, 32, 512, 1280, 76, 16, 28, 96, 1];
const whole = [16000, 1, 0];

/** Inputs on which the model runs; undefined where none of those tried does. */
export async function findFeeds(bytes: Uint8Array, model: OnnxModel): Promise<Feeds | undefined> {
  const inputs = model.graph.inputs.filter((each) => !model.graph.initializers.has(each.name));
  if (inputs.some((each) => each.dtype === undefined || each.shape === undefined)) return undefined;
  const session = await ort.InferenceSession.create(bytes, quiet);
  try {
    for (const size of sizes) {
      for (const integer of whole) {
        const feeds = Object.fromEntries(
          inputs.map(({ name, dtype = "float32", shape = [] }) => [
            name,
            inputTensor(
              name,
              dtype,
              shape.map((dim, axis) => (typeof dim === "number" ? dim : axis === 0 || shape.length === 3 ? 1 : size)),
              integer,
            ),
          ]),
        );
        const ran = await session.run(feeds).then(
          () => true,
          () => false,
        );
        if (ran) return feeds;
      }
    }
    return undefined;
  } finally {
    await session.release();
  }
}

function inputTensor(name: string, dtype: DType, shape: readonly number[], integer: number): ort.Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  const random = createRandom(1, name);
  if (dtype === "int64") return new ort.Tensor("int64", new BigInt64Array(count).fill(BigInt(integer)), [...shape]);
  if (dtype === "int32") return new ort.Tensor("int32", new Int32Array(count).fill(integer), [...shape]);
  if (dtype === "bool") return new ort.Tensor("bool", new Uint8Array(count).fill(1), [...shape]);
  const values = Float32Array.from({ length: count }, (_, i) => random.uniform(i));
  if (dtype === "float64") return new ort.Tensor("float64", Float64Array.from(values), [...shape]);
  return new ort.Tensor("float32", values, [...shape]);
}

/** Largest difference of two runs over the largest magnitude; infinity where shapes or other dtypes differ. */
export function difference(a: ort.Tensor, b: ort.Tensor | undefined): number {
  if (b === undefined || a.type !== b.type || `${a.dims}` !== `${b.dims}`) return Number.POSITIVE_INFINITY;
  if (a.type === "string") return `${a.data}` === `${b.data}` ? 0 : Number.POSITIVE_INFINITY;
  const [x, y] = [a.data, b.data].map((each) => Array.from(each as ArrayLike<number | bigint>, Number));
  let [most, scale] = [0, 1e-6];
  for (let i = 0; i < x.length; i++) {
    if (Object.is(x[i], y[i])) continue;
    most = Math.max(most, Number.isNaN(x[i] - y[i]) ? Number.POSITIVE_INFINITY : Math.abs(x[i] - y[i]));
    scale = Math.max(scale, Math.abs(x[i]));
  }
  return most / scale;
}

/**
 * Whether a file that was not changed is written with nothing lost: "bytes" where each byte is as it was, "content"
 * where values moved from the older typed fields to raw_data and all else is equal, else "lost".
 */
export async function writtenAgain(bytes: Uint8Array, name: string): Promise<"bytes" | "content" | "lost"> {
  const model = await readOnnx(bytesSource(bytes, name));
  const written = await encodeOnnx(model);
  if (Buffer.compare(written, bytes) === 0) return "bytes";
  const again = await readOnnx(bytesSource(written, name));
  return (await contentOf(model)) === (await contentOf(again)) ? "content" : "lost";
}

/** All that a model says, as one text; weights are read. */
async function contentOf(model: OnnxModel): Promise<string> {
  const weights = new Map<unknown, unknown>();
  const readAll = async (graph: OnnxModel["graph"]): Promise<void> => {
    for (const each of graph.initializers.values()) weights.set(each.data, await each.data.read());
    for (const node of graph.nodes) for (const inner of subgraphsOf(node)) await readAll(inner);
  };
  await readAll(model.graph);
  return JSON.stringify(model, (_, value) => {
    const real = weights.get(value) ?? value;
    if (real instanceof Map) return [...real];
    if (ArrayBuffer.isView(real)) return Array.from(real as Float64Array, String);
    return typeof real === "bigint" ? `${real}n` : real;
  });
}

/** What comes of a file on one way through this package: bytes, or why it does not go this way. */
export type Way = Uint8Array | LoomweightError;

async function way(make: () => Promise<Uint8Array>): Promise<Way> {
  try {
    return await make();
  } catch (cause) {
    if (cause instanceof LoomweightError) return cause;
    throw cause;
  }
}

/** A file on its ways through this package: written as it was read, normalised, and as a trace of values. */
export async function waysOf(bytes: Uint8Array, name: string): Promise<Record<string, Way>> {
  const model = await readOnnx(bytesSource(bytes, name));
  checkModel(model);
  return {
    "written again": await way(() => encodeOnnx(model)),
    normalised: await way(async () => {
      const normal = await normalizeModel(model);
      checkModel(normal);
      return encodeOnnx(normal);
    }),
    "as values": await way(async () => {
      const { inputs: given, outputs, opsets, functions } = instantiate(await importOnnx(model));
      const inputs = Object.values(given).filter((each): each is GraphValue => isGraphValue(each));
      const traced = assemble({ name: "traced", inputs, outputs, opsets, functions });
      checkModel(traced);
      return encodeOnnx(traced);
    }),
  };
}

/** A tensor of this project as onnxruntime takes it. */
export function feedOf({ dtype, data, shape }: Tensor): ort.Tensor {
  return new ort.Tensor(dtype as "float32", data as Float32Array, [...shape]);
}
