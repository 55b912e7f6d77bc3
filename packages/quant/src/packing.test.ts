import fc from "fast-check";
import { expect, test } from "vitest";
import { codeAt, packedLength, packInto, unpackInto } from "./packing.ts";

test("codes of 2, 4 and 8 bits survive packing at any length and position", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(2, 4, 8),
      fc.array(fc.nat(255), { maxLength: 40 }),
      fc.nat(5),
      fc.nat(5),
      (bits, raw, position, start) => {
        const codes = Uint8Array.from([...new Array(start).fill(0), ...raw.map((code) => code & (2 ** bits - 1))]);
        const packed = new Uint8Array(position + packedLength(raw.length, bits) + 1).fill(0xaa);
        packInto(packed, position, codes, start, raw.length, bits);
        expect(packed.at(-1)).toBe(0xaa);
        const back = new Uint8Array(codes.length);
        unpackInto(back, start, packed, position, raw.length, bits);
        expect(back).toEqual(codes);
      },
    ),
  );
});

test("the first code lies in the lowest bits, and the filler in what is left", () => {
  const out = new Uint8Array(2);
  packInto(out, 0, Uint8Array.of(1, 2, 3), 0, 3, 4, 8);
  expect([...out]).toEqual([0x21, 0x83]);
  packInto(out, 0, Uint8Array.of(1, 2, 3), 0, 3, 2, 2);
  expect(out[0]).toBe(0b10_11_10_01);
  expect(codeAt(out, 0, 1, 2)).toBe(2);
});
