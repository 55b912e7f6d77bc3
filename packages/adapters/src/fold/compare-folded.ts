import type { Checkpoint } from "@loomweight/checkpoint";
import { createKernels, type KernelDType } from "@loomweight/kernels";
import { byteLengthOf, type DType, elementCount, isFloat, LoomweightError } from "@loomweight/tensor";
import { createCodec } from "./codes.ts";

/** Elements compared at once. */
const stepElements = 1 << 20;

/** Units in the last place that another tool's folding may differ by: it rounds the update, then the sum. */
const allowedUnits = 2;

const mantissaBits: Partial<Record<DType, number>> = {
  float64: 52,
  float32: 23,
  float16: 10,
  bfloat16: 7,
  float8_e4m3fn: 3,
  float8_e5m2: 2,
};

/** How a folded model compares with what folding gives now. */
export interface FoldedComparison {
  /** Tensors whose bytes are equal. */
  readonly equal: number;
  /** Tensors that differ by rounding alone: another tool folded them. */
  readonly rounded: readonly string[];
}

/**
 * Checks that `folded` is what `expected` (the base with the adapters folded in now) says, tensor by tensor. Throws
 * `NOT_FOLDED_FROM` naming the first tensor that differs, or that only one of them has.
 */
export async function compareFolded(
  folded: Checkpoint,
  expected: Checkpoint,
  options: {
    /** Accept what differs by rounding alone, as when another tool folded it; default false. */
    readonly allowRounding?: boolean;
    readonly signal?: AbortSignal;
  } = {},
): Promise<FoldedComparison> {
  const missing = [...expected.tensors.keys()].find((name) => !folded.tensors.has(name));
  if (missing !== undefined) throw different(folded, missing, "no such tensor", "a tensor of that name");
  const extra = [...folded.tensors.keys()].find((name) => !expected.tensors.has(name));
  if (extra !== undefined) throw different(folded, extra, "a tensor that neither base nor adapter has", "none");
  const codec = createCodec(createKernels({ bytes: 8 << 20 }));
  const rounded: string[] = [];
  let equal = 0;
  for (const { name, dtype, shape } of expected.tensors.values()) {
    const own = folded.tensors.get(name);
    if (own?.dtype !== dtype || own.shape.join() !== shape.join()) {
      throw different(folded, name, `${own?.dtype} [${own?.shape}]`, `${dtype} [${shape}]`);
    }
    let isEqual = true;
    const count = elementCount(shape);
    for (let first = 0; first < count; first += stepElements) {
      const last = Math.min(count, first + stepElements);
      const range = { start: byteLengthOf(dtype, first), end: byteLengthOf(dtype, last), signal: options.signal };
      const [a, b] = [await folded.readBytes(name, range), await expected.readBytes(name, range)];
      if (sameBytes(a, b)) continue;
      isEqual = false;
      if (!isFloat(dtype)) throw different(folded, name, "other bytes", "those of the base");
      const [x, y] = [new Float64Array(last - first), new Float64Array(last - first)];
      codec.load(x, dtype as KernelDType, a);
      codec.load(y, dtype as KernelDType, b);
      // Where an update and a weight cancel, their rounding errs by more than a unit of what is left.
      const typical = Math.sqrt(y.reduce((sum, value) => sum + value * value, 0) / y.length);
      const bits = mantissaBits[dtype] ?? 23;
      const isRounding = (value: number, i: number) => {
        const unit = 2 ** (Math.floor(Math.log2(Math.max(Math.abs(value), Math.abs(y[i]), typical) || 1)) - bits);
        return Object.is(value, y[i]) || Math.abs(value - y[i]) <= allowedUnits * unit;
      };
      const bad = x.findIndex((value, i) => !isRounding(value, i));
      if (bad >= 0) throw different(folded, name, `${x[bad]} at element ${first + bad}`, String(y[bad]));
      if (options.allowRounding !== true) {
        const at = x.findIndex((value, i) => !Object.is(value, y[i]));
        throw different(folded, name, `${x[at]} at element ${first + at}`, `${y[at]}, which differs by rounding alone`);
      }
    }
    if (isEqual) equal++;
    else rounded.push(name);
  }
  return { equal, rounded };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function different(folded: Checkpoint, tensor: string, found: string, expected: string): LoomweightError {
  return new LoomweightError({
    code: "NOT_FOLDED_FROM",
    problem: "the folded model is not this base with these adapters folded in",
    file: folded.location,
    tensor,
    expected,
    found,
    fix: expected.endsWith("alone")
      ? "If another tool folded it, allow differences of rounding (--allow-rounding): the base's bytes come back."
      : "Give the base and the adapters it was folded from, in their order; without a base it is unfolded by arithmetic.",
  });
}
