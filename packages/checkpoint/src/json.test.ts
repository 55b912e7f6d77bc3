import { LoomweightError } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseJson } from "./json.ts";

const parse = (text: string) => parseJson(new TextEncoder().encode(text), "a.json");

test("JSON is read as the engine reads it", () => {
  fc.assert(
    fc.property(fc.json({ stringUnit: "binary" }), fc.nat({ max: 3 }), (text, indent) => {
      const spaced = JSON.stringify(JSON.parse(text), null, indent);
      expect(parse(spaced)).toEqual(JSON.parse(text));
    }),
    { numRuns: 1000 },
  );
});

test("text that the engine refuses is refused, but for the numbers Python writes", () => {
  fc.assert(
    fc.property(
      fc.json(),
      fc.nat(),
      fc.constantFrom("", ",", '"', "{", "]", "1", "\\", "e", "-", "é"),
      (text, at, piece) => {
        const place = at % (text.length + 1);
        const broken = text.slice(0, place) + piece + text.slice(place + 1);
        let valid = true;
        try {
          JSON.parse(broken);
        } catch {
          valid = false;
        }
        try {
          parse(broken);
          expect(valid).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(LoomweightError);
          const lone =
            /\p{Surrogate}/u.test(valid ? JSON.stringify(JSON.parse(broken)) : "") || /\\u[dD][89a-fA-F]/.test(broken);
          if (valid && (error as LoomweightError).code === "INVALID_JSON") expect(lone).toBe(true);
        }
      },
    ),
    { numRuns: 3000 },
  );
  expect(parse("[NaN, Infinity, -Infinity]")).toEqual([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
});

test("a byte order mark is passed over, depth is bounded, and a name twice is refused unless the last counts", () => {
  expect(parse("\ufeff{}")).toEqual({});
  expect(() => parse("[".repeat(65))).toThrow(/deeply nested/);
  expect(() => parse(`${"[".repeat(10_000_000)}`)).toThrow(/deeply nested/);
  expect(() => parse('{"a":1,"a":2}')).toThrow(/twice/);
  expect(parseJson(new TextEncoder().encode('{"a":1,"a":2}'), "a", { duplicates: "last" })).toEqual({ a: 2 });
});

test("names of object internals stay plain names", () => {
  const value = parse('{"__proto__":{"polluted":1},"constructor":2}') as Record<string, unknown>;
  expect(Object.keys(value)).toEqual(["__proto__", "constructor"]);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});
