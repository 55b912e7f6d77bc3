import { allocate, elementCount, fromData, type Tensor } from "@loomweight/tensor";
import { longestColumn } from "./block-coder.ts";
import { float32Values } from "./float32-values.ts";
import { createInt8Coder, type Int8Coder, type Int8CoderOptions } from "./int8-coder.ts";
import { codeRange, scaleAndZero } from "./int8-scale.ts";
import { checkWeight, invalid, nonFiniteWeight } from "./options.ts";
import { plainCodes } from "./panels.ts";
import { clamp, roundHalfToEven } from "./rounding.ts";
import { visitColumns } from "./weight-columns.ts";

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
  const fast = quantizeInt8WithCoder(weight, options, name, false);
  if (fast !== undefined) return fast.quantized;
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
    const found = scaleAndZero(lows[c], highs[c], codeRange(type, symmetric, reduceRange), symmetric);
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

/** `quantizeInt8` by the kernels, measured on the way if asked for; undefined where the layout is none of theirs. */
export function quantizeInt8WithCoder(
  weight: Tensor,
  options: Int8Options,
  name: string,
  measured: boolean,
): ReturnType<Int8Coder["finish"]> | undefined {
  const { type = "int8", reduceRange = false, symmetric = type === "int8" } = options;
  const { shape } = weight;
  const axis = checkAxis(options.axis, shape);
  const perColumn = axis === 1 && shape.length === 2;
  if (axis !== undefined && !perColumn) return undefined;
  const plain = plainCodes(weight);
  if ((perColumn || plain?.order === "columns") && 4 * shape[0] > longestColumn) return undefined;
  const settings = { shape, type, reduceRange, symmetric, name, measured, perColumn };
  if (plain !== undefined && (plain.order === "columns" || !perColumn)) {
    const { dtype, order, bytes } = plain;
    const coder = createInt8Coder({ ...settings, dtype, order });
    if (coder.sees) coder.see(bytes);
    coder.code(bytes);
    return coder.finish();
  }
  if (!perColumn) {
    const values = float32Values(weight);
    const coder = createInt8Coder({ ...settings, dtype: "float32", order: "elements" });
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    coder.see(bytes);
    coder.code(bytes);
    return coder.finish();
  }
  const coder = createInt8Coder({ ...settings, dtype: "float32", order: "columns" });
  visitColumns(weight, (_first, _count, values) =>
    coder.code(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  );
  return coder.finish();
}

/** `quantizeInt8` of a tensor whose codes stream, from the start each time `parts` is called: only its codes are in memory. */
export async function quantizeInt8Stream(
  parts: () => AsyncIterable<Uint8Array>,
  options: Int8CoderOptions,
): Promise<ReturnType<Int8Coder["finish"]>> {
  const coder = createInt8Coder(options);
  if (coder.sees) for await (const bytes of parts()) coder.see(bytes);
  for await (const bytes of parts()) coder.code(bytes);
  return coder.finish();
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
