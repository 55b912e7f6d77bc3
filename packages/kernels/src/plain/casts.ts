import type { KernelFunctions } from "../kernels.ts";
import { float8E8m0Code, smallFloatCode, smallFloats, smallFloatValues } from "../small-floats.ts";

/** `codes` as a typed array of its own width; copied where it is not aligned. */
function typed<T>(
  view: new (buffer: ArrayBuffer, offset: number, length: number) => T,
  width: number,
  codes: Uint8Array,
): T {
  const aligned = codes.byteOffset % width === 0 ? codes : codes.slice();
  return new view(aligned.buffer as ArrayBuffer, aligned.byteOffset, codes.byteLength / width);
}

/** values[i] = value of codes[i]. */
export const load: KernelFunctions["load"] = (values, dtype, codes) => {
  switch (dtype) {
    case "bfloat16": {
      const source = typed(Uint16Array, 2, codes);
      const float = new Float32Array(1);
      const bits = new Uint32Array(float.buffer);
      for (let i = 0; i < values.length; i++) {
        bits[0] = source[i] << 16;
        values[i] = float[0];
      }
      return;
    }
    case "float16": {
      const source = typed(Uint16Array, 2, codes);
      const float = new Float32Array(1);
      const bits = new Uint32Array(float.buffer);
      for (let i = 0; i < values.length; i++) {
        const magnitude = source[i] & 0x7fff;
        const sign = source[i] & 0x8000 ? -1 : 1;
        if (magnitude < 0x400) values[i] = sign * magnitude * 2 ** -24;
        else {
          bits[0] = (magnitude << 13) + ((magnitude >= 0x7c00 ? 224 : 112) << 23);
          values[i] = sign * float[0];
        }
      }
      return;
    }
    case "float8_e4m3fn":
    case "float8_e5m2":
    case "float8_e8m0fnu": {
      const table = smallFloatValues(dtype);
      for (let i = 0; i < values.length; i++) values[i] = table[codes[i]];
      return;
    }
    case "float32":
      values.set(typed(Float32Array, 4, codes));
      return;
    case "float64":
      values.set(typed(Float64Array, 8, codes));
      return;
    case "int8":
      values.set(typed(Int8Array, 1, codes));
      return;
    case "uint8":
      values.set(codes);
      return;
    case "int16":
      values.set(typed(Int16Array, 2, codes));
      return;
    case "uint16":
      values.set(typed(Uint16Array, 2, codes));
      return;
    case "int32":
      values.set(typed(Int32Array, 4, codes));
      return;
    case "uint32":
      values.set(typed(Uint32Array, 4, codes));
      return;
    case "int64":
    case "uint64": {
      const source = dtype === "int64" ? typed(BigInt64Array, 8, codes) : typed(BigUint64Array, 8, codes);
      for (let i = 0; i < values.length; i++) values[i] = Number(source[i]);
      return;
    }
    case "bool":
      for (let i = 0; i < values.length; i++) values[i] = codes[i] === 0 ? 0 : 1;
  }
};

/** x rounded to a whole number, ties to even. */
function nearestEven(x: number): number {
  if (!(Math.abs(x) < 2 ** 52)) return x;
  const magnitude = Math.abs(x) + 2 ** 52 - 2 ** 52;
  return x < 0 ? -magnitude : magnitude;
}

function nearestWithin(x: number, low: number, high: number): number {
  const whole = nearestEven(x);
  return Math.max(low, Math.min(high, whole)); // NaN stays and becomes 0 on assignment
}

/** codes[i] = values[i] rounded once. */
export const store: KernelFunctions["store"] = (dtype, codes, values) => {
  const n = values.length;
  const bytes = new DataView(codes.buffer, codes.byteOffset, codes.byteLength);
  switch (dtype) {
    case "bfloat16":
    case "float16": {
      const encode = smallFloatCode(smallFloats[dtype]);
      for (let i = 0; i < n; i++) bytes.setUint16(2 * i, encode(values[i]), true);
      return;
    }
    case "float8_e4m3fn":
    case "float8_e5m2": {
      const encode = smallFloatCode(smallFloats[dtype]);
      for (let i = 0; i < n; i++) codes[i] = encode(values[i]);
      return;
    }
    case "float8_e8m0fnu":
      for (let i = 0; i < n; i++) codes[i] = float8E8m0Code(values[i]);
      return;
    case "float32":
      for (let i = 0; i < n; i++) {
        if (Number.isNaN(values[i])) bytes.setUint32(4 * i, 0x7fc00000, true);
        else bytes.setFloat32(4 * i, values[i], true);
      }
      return;
    case "float64":
      for (let i = 0; i < n; i++) {
        if (Number.isNaN(values[i])) bytes.setBigUint64(8 * i, 0x7ff8000000000000n, true);
        else bytes.setFloat64(8 * i, values[i], true);
      }
      return;
    case "int8":
      for (let i = 0; i < n; i++) bytes.setInt8(i, nearestWithin(values[i], -128, 127));
      return;
    case "uint8":
      for (let i = 0; i < n; i++) codes[i] = nearestWithin(values[i], 0, 255);
      return;
    case "int16":
      for (let i = 0; i < n; i++) bytes.setInt16(2 * i, nearestWithin(values[i], -32768, 32767), true);
      return;
    case "uint16":
      for (let i = 0; i < n; i++) bytes.setUint16(2 * i, nearestWithin(values[i], 0, 65535), true);
      return;
    case "int32":
      for (let i = 0; i < n; i++) bytes.setInt32(4 * i, nearestWithin(values[i], -(2 ** 31), 2 ** 31 - 1), true);
      return;
    case "uint32":
      for (let i = 0; i < n; i++) bytes.setUint32(4 * i, nearestWithin(values[i], 0, 2 ** 32 - 1), true);
      return;
    case "int64":
      for (let i = 0; i < n; i++) {
        const x = nearestEven(values[i]);
        const whole = Number.isNaN(x) ? 0n : x >= 2 ** 63 ? 2n ** 63n - 1n : x < -(2 ** 63) ? -(2n ** 63n) : BigInt(x);
        bytes.setBigInt64(8 * i, whole, true);
      }
      return;
    case "uint64":
      for (let i = 0; i < n; i++) {
        const x = nearestEven(values[i]);
        const whole = !(x > 0) ? 0n : x >= 2 ** 64 ? 2n ** 64n - 1n : BigInt(x);
        bytes.setBigUint64(8 * i, whole, true);
      }
      return;
    case "bool":
      for (let i = 0; i < n; i++) codes[i] = values[i] === 0 ? 0 : 1;
  }
};
