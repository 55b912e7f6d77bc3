import fc from "fast-check";
import { expect, test } from "vitest";
import {
  allocate,
  bytesOf,
  cast,
  codesFromBytes,
  type DType,
  dtypeFacts,
  equal,
  fromData,
  fromFloat64,
  type Storage,
  slotCount,
  type Tensor,
  tensor,
  toFloat32,
  toFloat64,
  toNumbers,
  transpose,
} from "./index.ts";

const numeric = (Object.keys(dtypeFacts) as DType[]).filter(
  (dtype) => !["complex", "packed", "text"].includes(dtypeFacts[dtype].kind),
);
const wholes = numeric.filter((dtype) => dtypeFacts[dtype].kind !== "float");

test("a cast to the same dtype is the tensor itself", () => {
  const t = tensor([1, 2]);
  expect(cast(t, "float32")).toBe(t);
});

test("values that a dtype holds survive the cast there and back, from every dtype to every other", () => {
  for (const from of numeric) {
    for (const to of numeric) {
      const unsigned = from === "float8_e8m0fnu" || to === "float8_e8m0fnu" ? [1, 1, 1] : [0, 1, 1];
      const start = cast(tensor(unsigned, [3], "float64"), from);
      expect(toNumbers(cast(cast(start, to), "float64"))).toEqual(unsigned);
    }
  }
});

test("casts of more than one block round every element as the rule says", () => {
  const values = Float64Array.from({ length: 40_001 }, (_, i) => (i - 20_000) / 8);
  const t = fromFloat64(values, [40_001]);
  const even = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  const clamp = (x: number) => Math.max(-128, Math.min(127, x));
  const same = (found: Tensor, data: Storage) => expect(equal(found, fromData(found.dtype, data, t.shape))).toBe(true);
  same(cast(t, "int16"), Int16Array.from(values, even));
  same(
    cast(t, "int8"),
    Int8Array.from(values, (x) => clamp(even(x))),
  );
  same(cast(t, "int32", { rounding: "truncate" }), Int32Array.from(values, Math.trunc));
  same(
    cast(t, "uint8", { rounding: "truncate", overflow: "wrap" }),
    Uint8Array.from(values, (x) => Math.trunc(x) & 255),
  );
  same(cast(t, "float32"), Float32Array.from(values));
  expect(toFloat64(cast(t, "bfloat16"))[20_000 + 8 * 257]).toBe(256); // 257 lies half-way between 256 and 258
});

test("64-bit integers cast exactly to integers and are rounded once to floats", () => {
  const wide = tensor([2n ** 53n + 1n, -(2n ** 63n), 2n ** 63n - 1n, 5n], [4], "int64");
  expect([...cast(wide, "uint64").data]).toEqual([2n ** 53n + 1n, 0n, 2n ** 63n - 1n, 5n]);
  expect([...cast(wide, "uint64", { overflow: "wrap" }).data]).toEqual([2n ** 53n + 1n, 2n ** 63n, 2n ** 63n - 1n, 5n]);
  expect([...cast(wide, "int32").data]).toEqual([2 ** 31 - 1, -(2 ** 31), 2 ** 31 - 1, 5]);
  expect([...cast(wide, "int8", { overflow: "wrap" }).data]).toEqual([1, 0, -1, 5]);
  // One above half-way between two float32: rounding to float64 first would lose the one and tie down to even.
  const above = tensor([2n ** 60n + 2n ** 36n + 1n], [1], "int64");
  expect(cast(above, "float32").data[0]).toBe(2 ** 60 + 2 ** 37);
  expect(toFloat32(above)[0]).toBe(2 ** 60 + 2 ** 37);
});

test("integer casts saturate or wrap as exact arithmetic says", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.constantFrom(...wholes), (value, dtype) => {
      const source = tensor([value], [1], "int64");
      const { bits, kind } = dtypeFacts[dtype];
      const found = (overflow?: "wrap") => BigInt((cast(source, dtype, { overflow }).data as ArrayLike<number>)[0]);
      if (kind === "bool") {
        expect(found()).toBe(value === 0n ? 0n : 1n);
        return;
      }
      const [low, high] =
        kind === "unsigned" ? [0n, 2n ** BigInt(bits) - 1n] : [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n];
      expect(found()).toBe(value < low ? low : value > high ? high : value);
      expect(found("wrap")).toBe(kind === "unsigned" ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value));
    }),
  );
});

test("NaN and infinity: kept in floats, 0 and saturated in whole numbers", () => {
  const t = tensor([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0], [4], "float64");
  expect(toNumbers(cast(t, "float16"))).toEqual([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0]);
  expect(toNumbers(cast(t, "float8_e4m3fn", { overflow: "saturate" }))).toEqual([Number.NaN, 448, -448, -0]);
  expect(toNumbers(cast(t, "int4"))).toEqual([0, 7, -8, 0]);
  expect([...cast(t, "int64").data]).toEqual([0n, 2n ** 63n - 1n, -(2n ** 63n), 0n]);
  expect([...cast(t, "int64", { overflow: "wrap" }).data]).toEqual([0n, 0n, 0n, 0n]);
  expect([...cast(t, "bool").data]).toEqual([1, 1, 1, 0]);
});

test("what cannot be cast is refused by name", () => {
  const text = fromData("string", ["a"], [1]);
  expect(() => cast(text, "float32")).toThrow(/string elements are not computed with/);
  expect(() => cast(tensor([1]), "complex64")).toThrow(/complex64 elements are not computed with/);
  expect(() => cast(tensor([1]), "float6_e2m3fn")).toThrow(/float6_e2m3fn/);
  expect(() => cast(tensor([1]), "float16", { overflow: "wrap" })).toThrow(/option overflow: .* cannot wrap/);
  expect(() => toFloat64(text)).toThrow(/toFloat64: string/);
});

test("strided tensors are read row-major", () => {
  const t = transpose(cast(tensor([[1, 2, 3], [4, 5, 6]]), "bfloat16")); // biome-ignore format: a matrix
  expect([...toFloat64(t)]).toEqual([1, 4, 2, 5, 3, 6]);
  expect([...toFloat32(t)]).toEqual([1, 4, 2, 5, 3, 6]);
  expect([...cast(t, "int8").data]).toEqual([1, 4, 2, 5, 3, 6]);
});

test("conversions give arrays of their own", () => {
  for (const dtype of ["float64", "float32"] as const) {
    const t = tensor([1, 2], [2], dtype);
    toFloat64(t)[0] = 9;
    toFloat32(t)[0] = 9;
    expect(toNumbers(t)).toEqual([1, 2]);
  }
});

test("bytes of every dtype come back from any alignment", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...numeric, "complex64" as const),
      fc.uint8Array({ maxLength: 64 }),
      fc.nat(7),
      (dtype, random, offset) => {
        const count = Math.floor(random.length / 8);
        const data = allocate(dtype, count) as Exclude<ReturnType<typeof allocate>, string[]>;
        expect(data.length).toBe(slotCount(dtype, count));
        new Uint8Array(data.buffer).set(random.subarray(0, data.byteLength));
        for (let i = 0; i < count; i++) {
          if (dtype === "int4") data[i] = ((Number(data[i]) & 15) ^ 8) - 8;
          if (dtype === "uint4") data[i] = Number(data[i]) & 15;
        }
        const bytes = bytesOf(fromData(dtype, data as never, [count]));
        expect(bytes.length).toBe(Math.ceil((count * dtypeFacts[dtype].bits) / 8));
        const elsewhere = new Uint8Array(bytes.length + offset).subarray(offset);
        elsewhere.set(bytes);
        expect(codesFromBytes(dtype, elsewhere, count)).toEqual(data);
      },
    ),
  );
});

test("bytes that hold no whole elements are refused", () => {
  expect(() => codesFromBytes("float32", new Uint8Array(7))).toThrow(/expected whole float32 elements, found 7 bytes/);
  expect(() => codesFromBytes("float32", new Uint8Array(8), 3)).toThrow(/expected 3 elements/);
  expect(() => codesFromBytes("int4", new Uint8Array(2), 5)).toThrow(/expected 5 elements/);
  expect(() => codesFromBytes("string", new Uint8Array(2))).toThrow(/string/);
});

test("aligned bytes are viewed, not copied", () => {
  const bytes = new Uint8Array(8);
  expect(codesFromBytes("float32", bytes).buffer).toBe(bytes.buffer);
  const t = fromData("uint16", new Uint16Array(3), [3]);
  expect(bytesOf(t).buffer).toBe(t.data.buffer);
});
