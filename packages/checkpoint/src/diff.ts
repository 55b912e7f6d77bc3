import { createKernels, type KernelDType, type Kernels } from "@loomweight/kernels";
import { type DType, dtypeFacts, elementCount, invalidOption } from "@loomweight/tensor";
import type { Checkpoint, TensorInfo } from "./checkpoint.ts";

/** How one tensor that both checkpoints hold, in one shape, differs between them. */
export interface TensorDifference {
  readonly name: string;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly dtypes: { readonly a: DType; readonly b: DType };
  /** Elements whose values differ; NaN equals NaN, 0 equals −0. By codes for packed dtypes and 64-bit integers. */
  readonly differing: number;
  /** Elements that are NaN or infinite on either side: counted in `differing` where unequal, left out below. */
  readonly nonFinite: number;
  /** Undefined where the dtypes have no common values to compare (float4, float6, complex against real). */
  readonly values: ValueDifference | undefined;
}

/** In float64, over the elements that are finite on both sides. */
export interface ValueDifference {
  /** max |b − a| */
  readonly maxAbs: number;
  /** ‖b − a‖ / ‖a‖; 0 where both are zero, Infinity where only a is. */
  readonly relativeL2: number;
  /** a·b / (‖a‖ ‖b‖), from −1 to 1; 1 where both are zero, 0 where one is. */
  readonly cosine: number;
}

export interface CheckpointDiff {
  /** Same names, shapes and dtypes, and no differing element. */
  readonly equal: boolean;
  /** Tensors in both, of one shape, in the order of `a`; equal ones too. */
  readonly tensors: readonly TensorDifference[];
  readonly onlyInA: readonly string[];
  readonly onlyInB: readonly string[];
  readonly shapes: readonly { readonly name: string; readonly a: readonly number[]; readonly b: readonly number[] }[];
}

export interface DiffOptions {
  /** Bytes of a tile's float64 values; four such blocks are held. Default 4 MiB. */
  readonly tileBytes?: number;
  /** Default a set of its own, with as much memory as tiles need. Tiles shrink to what another one can hold. */
  readonly kernels?: Kernels;
  /** Which tensors to look at; default all. */
  readonly include?: (name: string) => boolean;
  /** Called after each compared tensor. */
  readonly onTensor?: (difference: TensorDifference) => void;
  readonly signal?: AbortSignal;
}

/**
 * Compares two checkpoints tensor by tensor, streamed by tiles: memory does not grow with the tensors.
 * Throws what reading throws.
 */
export async function diffCheckpoints(
  a: Checkpoint,
  b: Checkpoint,
  options: DiffOptions = {},
): Promise<CheckpointDiff> {
  const { tileBytes = 4 * 2 ** 20, include = () => true, onTensor, signal } = options;
  if (!Number.isSafeInteger(tileBytes) || tileBytes < 1024 || tileBytes > 2 ** 28) {
    throw invalidOption({ option: "tileBytes" }, tileBytes, "a whole number from 1024 to 268435456");
  }
  const kernels = options.kernels ?? createKernels({ bytes: 4 * tileBytes + 256 });
  // Whole bytes and elements of every dtype; two blocks of codes and two of values, 8 bytes an element at most.
  const tileElements = 8 * Math.floor(Math.min(tileBytes / 8, (kernels.capacity - 256) / 32) / 8);
  const tensors: TensorDifference[] = [];
  const shapes: { name: string; a: readonly number[]; b: readonly number[] }[] = [];
  const onlyInA: string[] = [];
  for (const [name, first] of a.tensors) {
    if (!include(name)) continue;
    const second = b.tensors.get(name);
    if (second === undefined) onlyInA.push(name);
    else if (!sameShape(first.shape, second.shape)) shapes.push({ name, a: first.shape, b: second.shape });
    else {
      const difference = await diffTensor({ a, b, first, second, kernels, tileElements, signal });
      tensors.push(difference);
      onTensor?.(difference);
    }
  }
  const onlyInB = [...b.tensors.keys()].filter((name) => include(name) && !a.tensors.has(name));
  const equal =
    onlyInA.length + onlyInB.length + shapes.length === 0 &&
    tensors.every(({ differing, dtypes }) => differing === 0 && dtypes.a === dtypes.b);
  return { equal, tensors, onlyInA, onlyInB, shapes };
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

interface Pair {
  readonly a: Checkpoint;
  readonly b: Checkpoint;
  readonly first: TensorInfo;
  readonly second: TensorInfo;
  readonly kernels: Kernels;
  readonly tileElements: number;
  readonly signal: AbortSignal | undefined;
}

/** What is summed over the tiles of a tensor. */
interface Sums {
  differing: number;
  nonFinite: number;
  maxAbs: number;
  squaresA: number;
  squaresB: number;
  products: number;
  squaresDifference: number;
}

async function diffTensor(pair: Pair): Promise<TensorDifference> {
  const { a, b, first, second, kernels, signal } = pair;
  const [slotsA, slotsB] = [slotsOf(first.dtype), slotsOf(second.dtype)];
  const comparable = slotsA !== undefined && slotsB !== undefined && slotsA.perElement === slotsB.perElement;
  const byCodes = first.dtype === second.dtype && (!comparable || isWideInteger(first.dtype));
  const elements = elementCount(first.shape);
  const step = pair.tileElements / (slotsA?.perElement ?? 1);
  const sums: Sums = {
    differing: 0,
    nonFinite: 0,
    maxAbs: 0,
    squaresA: 0,
    squaresB: 0,
    products: 0,
    squaresDifference: 0,
  };
  for (let start = 0; start < elements; start += step) {
    const count = Math.min(step, elements - start);
    if (!comparable && !byCodes) {
      sums.differing += count; // nothing in common: no need to read
      continue;
    }
    const mark = kernels.mark();
    try {
      const read = (checkpoint: Checkpoint, { name, dtype }: TensorInfo): Promise<Uint8Array> => {
        const bytes = (elementsBefore: number) => (elementsBefore * dtypeFacts[dtype].bits) / 8;
        const into = kernels.allocateUnset(bytes(count));
        return checkpoint.readBytes(name, { start: bytes(start), end: bytes(start + count), into, signal });
      };
      // Both settle before the memory is released, even when one of them fails.
      const [codesA, codesB] = await bothSettled(read(a, first), read(b, second));
      const same = first.dtype === second.dtype && sameBytes(codesA, codesB);
      if (byCodes && !same) sums.differing += countDifferentCodes(codesA, codesB, dtypeFacts[first.dtype].bits, count);
      if (comparable) {
        const slots = count * slotsA.perElement;
        const valuesA = unsetValues(kernels, slots);
        kernels.load(valuesA, slotsA.dtype, codesA);
        const valuesB = same ? valuesA : unsetValues(kernels, slots);
        if (!same) kernels.load(valuesB, slotsB.dtype, codesB);
        if (!byCodes && !same) sums.differing += countDifferentValues(valuesA, valuesB, slotsA.perElement);
        addTile(sums, kernels, valuesA, valuesB);
      }
    } finally {
      kernels.release(mark);
    }
  }
  return {
    name: first.name,
    shape: first.shape,
    elements,
    dtypes: { a: first.dtype, b: second.dtype },
    differing: sums.differing,
    nonFinite: sums.nonFinite,
    values: comparable ? valueDifference(sums) : undefined,
  };
}

async function bothSettled<T>(a: Promise<T>, b: Promise<T>): Promise<[T, T]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

/** A block that `load` is about to fill. */
function unsetValues(kernels: Kernels, count: number): Float64Array {
  const { buffer, byteOffset } = kernels.allocateUnset(8 * count);
  return new Float64Array(buffer, byteOffset, count);
}

/** As what kernels read a dtype: complex64 is two float32 an element; packed dtypes are not read. */
function slotsOf(dtype: DType): { dtype: KernelDType; perElement: 1 | 2 } | undefined {
  if (dtype === "complex64") return { dtype: "float32", perElement: 2 };
  if (dtypeFacts[dtype].kind === "packed" || dtype === "string" || dtype === "int4" || dtype === "uint4")
    return undefined;
  return { dtype: dtype as KernelDType, perElement: 1 };
}

function isWideInteger(dtype: DType): boolean {
  return dtype === "int64" || dtype === "uint64"; // float64 does not tell them all apart
}

/** Adds a tile to the sums; overwrites `b` (and `a` where values are not finite). `a === b` where the tiles are equal. */
function addTile(sums: Sums, kernels: Kernels, a: Float64Array, b: Float64Array): void {
  if (kernels.firstNonFinite(a) !== -1 || (a !== b && kernels.firstNonFinite(b) !== -1)) {
    for (let i = 0; i < a.length; i++) {
      if (Number.isFinite(a[i]) && Number.isFinite(b[i])) continue;
      sums.nonFinite++;
      a[i] = 0;
      b[i] = 0;
    }
  }
  const squaresA = kernels.dot(a, a);
  sums.squaresA += squaresA;
  if (a === b) {
    sums.squaresB += squaresA;
    sums.products += squaresA;
    return;
  }
  sums.squaresB += kernels.dot(b, b);
  sums.products += kernels.dot(a, b);
  kernels.subtract(b, b, a);
  sums.squaresDifference += kernels.dot(b, b);
  sums.maxAbs = Math.max(sums.maxAbs, kernels.maxAbs(b));
}

function valueDifference({ maxAbs, squaresA, squaresB, products, squaresDifference }: Sums): ValueDifference {
  const relativeL2 = squaresDifference === 0 ? 0 : Math.sqrt(squaresDifference) / Math.sqrt(squaresA);
  const norms = Math.sqrt(squaresA) * Math.sqrt(squaresB);
  const cosine = norms === 0 ? (squaresA === squaresB ? 1 : 0) : squaresDifference === 0 ? 1 : products / norms;
  return { maxAbs, relativeL2, cosine: Math.min(1, Math.max(-1, cosine)) };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  // Kernel memory is 16-byte aligned, so whole words can be compared.
  const words = Math.floor(a.length / 4);
  const x = new Int32Array(a.buffer, a.byteOffset, words);
  const y = new Int32Array(b.buffer, b.byteOffset, words);
  for (let i = 0; i < words; i++) if (x[i] !== y[i]) return false;
  for (let i = words * 4; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function countDifferentValues(a: Float64Array, b: Float64Array, perElement: 1 | 2): number {
  let count = 0;
  for (let i = 0; i < a.length; i += perElement) {
    const last = i + perElement - 1;
    if (differ(a[i], b[i]) || (last !== i && differ(a[last], b[last]))) count++;
  }
  return count;
}

function differ(a: number, b: number): boolean {
  return a !== b && !(Number.isNaN(a) && Number.isNaN(b));
}

/** Elements whose codes of `bits` bits differ: least significant bits first, as packed dtypes lie in a file. */
function countDifferentCodes(a: Uint8Array, b: Uint8Array, bits: number, count: number): number {
  let different = 0;
  for (let element = 0; element < count; element++) {
    const from = element * bits;
    const to = from + bits;
    for (let bit = from; bit < to; ) {
      const stop = Math.min(to, (Math.floor(bit / 8) + 1) * 8);
      const mask = ((1 << (stop - bit)) - 1) << (bit % 8);
      if (((a[bit >> 3] ^ b[bit >> 3]) & mask) !== 0) {
        different++;
        break;
      }
      bit = stop;
    }
  }
  return different;
}
