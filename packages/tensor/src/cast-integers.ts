import { type DType, dtypeFacts, type Storage } from "./dtype.ts";
import { allocate } from "./tensor.ts";

/** dtypes of whole numbers; bool counts as 0 and 1. */
export type WholeDType =
  | "int8"
  | "uint8"
  | "int16"
  | "uint16"
  | "int32"
  | "uint32"
  | "int64"
  | "uint64"
  | "int4"
  | "uint4"
  | "bool";

export function isWhole(dtype: DType): dtype is WholeDType {
  const { kind } = dtypeFacts[dtype];
  return kind === "integer" || kind === "unsigned" || kind === "bool";
}

export function isWide(dtype: DType): dtype is "int64" | "uint64" {
  return dtype === "int64" || dtype === "uint64";
}

/** Smallest and largest value of a dtype of whole numbers. */
export function wholeRange(dtype: WholeDType): { low: bigint; high: bigint } {
  const { bits, kind } = dtypeFacts[dtype];
  if (kind === "bool") return { low: 0n, high: 1n };
  if (kind === "unsigned") return { low: 0n, high: 2n ** BigInt(bits) - 1n };
  return { low: -(2n ** BigInt(bits - 1)), high: 2n ** BigInt(bits - 1) - 1n };
}

/** Whole numbers in another dtype of whole numbers, exactly; what is out of range saturates or wraps modulo 2^bits. */
export function castIntegers<D extends WholeDType>(
  source: Storage<WholeDType>,
  dtype: D,
  overflow: "saturate" | "wrap",
): Storage<D> {
  const codes = allocate(dtype, source.length);
  const { low, high } = wholeRange(dtype);
  if (dtype === "bool") {
    for (let i = 0; i < source.length; i++) codes[i] = Number(source[i]) === 0 ? 0 : 1;
  } else if (source instanceof BigInt64Array || source instanceof BigUint64Array || isWide(dtype)) {
    const { bits, kind } = dtypeFacts[dtype];
    const wide = isWide(dtype);
    for (let i = 0; i < source.length; i++) {
      const value = BigInt(source[i]);
      const held =
        overflow === "wrap"
          ? kind === "unsigned"
            ? BigInt.asUintN(bits, value)
            : BigInt.asIntN(bits, value)
          : value < low
            ? low
            : value > high
              ? high
              : value;
      codes[i] = wide ? held : Number(held);
    }
  } else if (overflow === "wrap") {
    wrapInto(codes, dtype, source as ArrayLike<number>);
  } else {
    const [least, most] = [Number(low), Number(high)];
    for (let i = 0; i < source.length; i++) codes[i] = Math.max(least, Math.min(most, source[i] as number));
  }
  return codes;
}

/** codes[i] = values[i] truncated, modulo 2^bits; NaN and infinity give 0. Not for bool. */
export function wrapInto(codes: Storage<WholeDType>, dtype: WholeDType, values: ArrayLike<number>): void {
  for (let i = 0; i < codes.length; i++) {
    if (dtype === "int4") codes[i] = ((values[i] & 15) ^ 8) - 8;
    else if (dtype === "uint4") codes[i] = values[i] & 15;
    else if (isWide(dtype)) codes[i] = Number.isFinite(values[i]) ? BigInt(Math.trunc(values[i])) : 0n;
    else codes[i] = values[i]; // assigning to an integer array truncates and wraps
  }
}
