import { allocate, elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { float32Values } from "./float32-values.ts";
import { checkWeight, invalid, nonFiniteWeight } from "./options.ts";
import { errorSum } from "./report.ts";
import { clamp, roundHalfToEven } from "./rounding.ts";

/** Element types of 8-bit weights. */
export type Int8Type = "int8" | "uint8";

/** A tensor as 8-bit codes: value = (code − zero point) · scale. */
export interface Int8Quantized {
  /** Codes in the weight's shape, row-major. */
  readonly data: Tensor<Int8Type>;
  /** float32, [] for the whole tensor or [channels]. */
  readonly scale: Tensor<"float32">;
  /** The type of `data`, the shape of `scale`. */
  readonly zeroPoint: Tensor<Int8Type>;
}

export interface Int8Options {
  /** Default "int8". */
  readonly type?: Int8Type;
  /** One scale for each index of this axis; absent = one scale for the tensor. Negative counts from the end. */
  readonly axis?: number;
  /** Range −m..m; default: true for int8, false for uint8. */
  readonly symmetric?: boolean;
  /** 7 bits, for CPUs whose 8-bit products saturate (x86 without VNNI): int8 −64..64, uint8 0..127. Default false. */
  readonly reduceRange?: boolean;
}

/**
 * Codes a float tensor in 8 bits, bit-equal to onnxruntime's tool: the scale in float64 rounded to float32, zero point
 * from the float64 scale, codes = clip(round(w / scale) + zero point) with float32 quotients, half to even.
 * int8: −127..127 symmetric (−128..127 otherwise); uint8: 0..255. A range below the smallest normal float32 has
 * scale 1 and zero point 0.
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `NON_FINITE_WEIGHT` naming `name`
 */
export function quantizeInt8(weight: Tensor, options: Int8Options = {}, name = "weight"): Int8Quantized {
  const { type = "int8", reduceRange = false } = options;
  if (type !== "int8" && type !== "uint8") throw invalid("quantizeInt8.type", type, "int8 or uint8");
  checkWeight(weight, name);
  const symmetric = options.symmetric ?? type === "int8";
  const { shape } = weight;
  const axis = checkAxis(options.axis, shape);
  const channels = axis === undefined ? 1 : shape[axis];
  const inner = axis === undefined ? elementCount(shape) : elementCount(shape.slice(axis + 1));
  const outer = axis === undefined ? 1 : elementCount(shape.slice(0, axis));
  const values = float32Values(weight);
  const lows = new Float32Array(channels);
  const highs = new Float32Array(channels);
  if (!ranges(values, outer, channels, inner, lows, highs)) throw nonFiniteWeight(name, "somewhere");
  const scale = allocate("float32", channels);
  const zeroPoint = allocate(type, channels);
  for (let c = 0; c < channels; c++) {
    const found = scaleAndZero(lows[c], highs[c], type, symmetric, reduceRange);
    scale[c] = found.scale;
    zeroPoint[c] = found.zeroPoint;
  }
  const data = allocate(type, values.length);
  const [low, high] = type === "int8" ? [-128, 127] : [0, 255];
  for (let o = 0, start = 0; o < outer; o++) {
    for (let c = 0; c < channels; c++, start += inner) {
      const divisor = scale[c];
      const zero = zeroPoint[c];
      for (let i = start; i < start + inner; i++) {
        data[i] = clamp(roundHalfToEven(Math.fround(values[i] / divisor)) + zero, low, high);
      }
    }
  }
  const scaleShape = axis === undefined ? [] : [channels];
  return {
    data: fromData(type, data, shape),
    scale: fromData("float32", scale, scaleShape),
    zeroPoint: fromData(type, zeroPoint, scaleShape),
  };
}

/**
 * `quantizeInt8` with one scale for a float32 tensor that streams: only its codes are in memory. `bytes` gives the
 * elements row-major, `anyOrder` all of them in whatever order is cheapest. Measured on the way if asked for.
 */
export async function quantizeInt8Stream(
  source: {
    readonly shape: readonly number[];
    readonly bytes: () => AsyncIterable<Uint8Array>;
    readonly anyOrder?: () => AsyncIterable<Uint8Array>;
  },
  options: Required<Pick<Int8Options, "type" | "symmetric" | "reduceRange">>,
  name: string,
  measured: boolean,
): Promise<{ quantized: Int8Quantized; sqnr: number; largestError: number }> {
  const { shape } = source;
  const lows = new Float32Array(1);
  const highs = new Float32Array(1);
  for await (const values of floatsOf((source.anyOrder ?? source.bytes)())) {
    if (!ranges(values, 1, 1, values.length, lows, highs)) throw nonFiniteWeight(name, "somewhere");
  }
  const { type, symmetric, reduceRange } = options;
  const found = scaleAndZero(lows[0], highs[0], type, symmetric, reduceRange);
  const scale = allocate("float32", 1).fill(found.scale);
  const zeroPoint = allocate(type, 1).fill(found.zeroPoint);
  const data = allocate(type, elementCount(shape));
  const noise = errorSum();
  const restored = new Float32Array(measured ? restoredLength : 0);
  let at = 0;
  for await (const values of floatsOf(source.bytes())) {
    codesInto(data, at, values, scale[0], zeroPoint[0]);
    for (let from = 0; measured && from < values.length; from += restoredLength) {
      const part = values.subarray(from, from + restoredLength);
      restoreInto(restored, data, at + from, part.length, scale[0], zeroPoint[0]);
      noise.add(part, restored);
    }
    at += values.length;
  }
  const quantized: Int8Quantized = {
    data: fromData(type, data, shape),
    scale: fromData("float32", scale, []),
    zeroPoint: fromData(type, zeroPoint, []),
  };
  return { quantized, ...noise.result() };
}

const restoredLength = 8192;

/** out[i] = what data[at + i] stands for. */
function restoreInto(
  out: Float32Array,
  data: Int8Array | Uint8Array,
  at: number,
  count: number,
  scale: number,
  zero: number,
): void {
  for (let i = 0; i < count; i++) out[i] = (data[at + i] - zero) * scale;
}

/** data[at + i] = the code of values[i], held within the type's range. */
function codesInto(
  data: Int8Array | Uint8Array,
  at: number,
  values: Float32Array,
  divisor: number,
  zero: number,
): void {
  const [low, high] = data instanceof Int8Array ? [-128, 127] : [0, 255];
  for (let i = 0; i < values.length; i++) {
    const code = roundHalfToEven(Math.fround(values[i] / divisor)) + zero;
    data[at + i] = Math.min(Math.max(code, low), high);
  }
}

/** The float32 values of a stream whose parts may be cut anywhere, valid until the next ones are asked for. */
async function* floatsOf(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Float32Array> {
  let rest = new Uint8Array(0);
  for await (const part of parts) {
    const whole = rest.length === 0 && part.byteOffset % 4 === 0 && part.length % 4 === 0;
    if (whole) {
      yield new Float32Array(part.buffer, part.byteOffset, part.length / 4);
      continue;
    }
    const joined = new Uint8Array(rest.length + part.length);
    joined.set(rest);
    joined.set(part, rest.length);
    const length = joined.length - (joined.length % 4);
    rest = joined.slice(length);
    yield new Float32Array(joined.buffer, 0, length / 4);
  }
}

/** The float32 tensor that the codes stand for; `axis` as it was given to `quantizeInt8`. */
export function dequantizeInt8(quantized: Int8Quantized, axis?: number): Tensor<"float32"> {
  const { shape, data } = quantized.data;
  const at = checkAxis(axis, shape);
  const inner = at === undefined ? data.length : elementCount(shape.slice(at + 1));
  const channels = at === undefined ? 1 : shape[at];
  const out = allocate("float32", data.length);
  for (let i = 0; i < out.length; i++) {
    const channel = Math.floor(i / inner) % channels;
    out[i] = (data[i] - quantized.zeroPoint.data[channel]) * quantized.scale.data[channel];
  }
  return fromData("float32", out, shape);
}

function checkAxis(given: number | undefined, shape: readonly number[]): number | undefined {
  if (given === undefined) return undefined;
  const axis = given < 0 ? given + shape.length : given;
  if (!Number.isInteger(axis) || axis < 0 || axis >= shape.length) {
    throw invalid("quantizeInt8.axis", given, `an axis of [${shape}]`);
  }
  return axis;
}

/** Range of each channel, widened to hold 0; false when a value is NaN or infinity. */
function ranges(
  values: Float32Array,
  outer: number,
  channels: number,
  inner: number,
  lows: Float32Array,
  highs: Float32Array,
): boolean {
  let check = 0;
  for (let o = 0, start = 0; o < outer; o++) {
    for (let c = 0; c < channels; c++, start += inner) {
      let low = lows[c];
      let high = highs[c];
      for (let i = start; i < start + inner; i++) {
        const w = values[i];
        if (w < low) low = w;
        if (w > high) high = w;
        check += w - w; // NaN as soon as one value is not finite
      }
      lows[c] = low;
      highs[c] = high;
    }
  }
  return check === 0;
}

const smallestNormal = 2 ** -126;

function scaleAndZero(
  low: number,
  high: number,
  type: Int8Type,
  symmetric: boolean,
  reduceRange: boolean,
): { scale: number; zeroPoint: number } {
  const [bottom, top] = codeRange(type, symmetric, reduceRange);
  const reach = Math.max(-low, high);
  const [from, to] = symmetric ? [-reach, reach] : [low, high];
  const scale = Math.fround(to - from) / (top - bottom); // the span in float32, the step in float64
  if (scale < smallestNormal) return { scale: 1, zeroPoint: 0 };
  const zeroPoint = symmetric ? roundHalfToEven((bottom + top) / 2) : roundHalfToEven(bottom - from / scale);
  return { scale, zeroPoint };
}

function codeRange(type: Int8Type, symmetric: boolean, reduceRange: boolean): readonly [number, number] {
  if (type === "uint8") return reduceRange ? [0, 127] : [0, 255];
  if (reduceRange) return [-64, 64];
  return symmetric ? [-127, 127] : [-128, 127];
}
