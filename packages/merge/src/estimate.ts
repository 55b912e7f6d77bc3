import type { Checkpoint } from "@loomweight/checkpoint";
import { createKernels } from "@loomweight/kernels";
import { byteLengthOf, elementCount, isFloat } from "@loomweight/tensor";
import type { AnyMergeMethod } from "./define.ts";
import { createEngine } from "./lazy/engine.ts";
import { mergeTensor } from "./merge-tensor.ts";
import type { MergePlan, TensorPlan } from "./plan/plan.ts";

/** Elements of the stand-in whose merging is timed. */
const sampleRows = 512;
const sampleColumns = 512;
/** What reading from and writing to a disk and its cache take together, a cautious figure. */
const secondsPerByte = 1 / 1.5e9;

/**
 * About how long a plan takes on one thread: its methods are timed on stand-ins of made-up numbers, with the options of
 * its largest tensor, and the bytes it moves are added. No weights are read. `bytesRead`: of all sources.
 */
export async function estimateSeconds(
  plan: MergePlan,
  methods: readonly AnyMergeMethod[],
  bytes: { readonly read: number; readonly written: number },
): Promise<number> {
  let seconds = (bytes.read + bytes.written) * secondsPerByte;
  const plans = new Set<MergePlan>();
  const collect = (each: MergePlan): void => {
    if (plans.has(each)) return;
    plans.add(each);
    for (const document of Object.values(each.documents ?? {})) collect(document);
  };
  collect(plan);
  for (const each of plans) {
    const merged = each.tensors.filter(({ copy, dtype }) => copy === undefined && isFloat(dtype));
    const method = methods.find(({ name }) => name === each.method);
    const largest = merged.reduce<TensorPlan | undefined>(
      (most, tensor) => (most === undefined || sizeOf(tensor) > sizeOf(most) ? tensor : most),
      undefined,
    );
    if (method === undefined || largest === undefined) continue;
    const elements = merged.reduce((sum, tensor) => sum + sizeOf(tensor), 0);
    seconds += (await secondsPerElement(largest, method)) * elements;
  }
  return seconds;
}

const sizeOf = ({ shape }: TensorPlan): number => elementCount(shape);

async function secondsPerElement(tensor: TensorPlan, method: AnyMergeMethod): Promise<number> {
  const engine = createEngine({ kernels: createKernels({ bytes: 48 * 2 ** 20 }), tileElements: 2 ** 17 });
  const references = [...(tensor.base === undefined ? [] : [tensor.base]), ...tensor.inputs];
  const count = references.reduce((most, { model }) => Math.max(most, model + 1), 0);
  const checkpoints = Array.from({ length: count }, (_, seed) =>
    madeUp(
      seed,
      references.map((each) => each.tensor),
    ),
  );
  const withoutCut = <T extends { cut?: unknown }>({ cut: _, ...rest }: T) => rest;
  const sample: TensorPlan = {
    ...tensor,
    shape: [sampleRows, sampleColumns],
    base: tensor.base && withoutCut(tensor.base),
    inputs: tensor.inputs.map(withoutCut) as TensorPlan["inputs"],
  };
  const sink = async () => {};
  let best = Number.POSITIVE_INFINITY;
  // Of three, so that what is compiled once does not count.
  for (let round = 0; round < 3; round++) {
    const began = performance.now();
    await mergeTensor(sample, method, checkpoints, engine, sink, { allowNonFinite: true });
    best = Math.min(best, performance.now() - began);
  }
  return best / 1000 / (sampleRows * sampleColumns);
}

/** A checkpoint of bfloat16 tensors with made-up numbers between ±1 and ±2 times a power of two. */
function madeUp(seed: number, names: readonly string[]): Checkpoint {
  const shape = [sampleRows, sampleColumns];
  const byteLength = byteLengthOf("bfloat16", elementCount(shape));
  const codes = new Uint16Array(byteLength / 2);
  let state = (seed + 1) * 0x9e3779b1;
  for (let i = 0; i < codes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    codes[i] = ((state >>> 16) & 0x80ff) | 0x3c00;
  }
  const bytes = new Uint8Array(codes.buffer);
  const info = { dtype: "bfloat16" as const, shape, byteLength, file: "", byteOffset: 0 };
  return {
    location: "",
    metadata: {},
    tensors: new Map(names.map((name) => [name, { name, ...info }])),
    async readBytes(_, { start = 0, end = byteLength, into = new Uint8Array(end - start) } = {}) {
      into.set(bytes.subarray(start, end));
      return into;
    },
    async read() {
      throw new Error("a stand-in is read by bytes only");
    },
    async close() {},
  };
}
