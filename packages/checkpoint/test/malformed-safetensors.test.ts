import { LoomweightError } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { bytesSource, openSafetensors } from "../src/index.ts";
import { entry, fileOf } from "./safetensors-bytes.ts";

type Case = readonly [name: string, file: Uint8Array, code: string, tensor?: string];

const one = (fields: Parameters<typeof entry>[0], data = 8) => fileOf(`{"a":${entry(fields)}}`, data);
const two = (first: string, second: string, data: number) =>
  fileOf(`{"a":${entry({ offsets: first })},"b":${entry({ offsets: second })}}`, data);
const bytes = (...parts: (string | number[])[]) =>
  new Uint8Array(parts.flatMap((part) => (typeof part === "string" ? [...new TextEncoder().encode(part)] : part)));
const good = `{"a":${entry()}}`;

const cases: readonly Case[] = [
  // length
  ["an empty file", new Uint8Array(0), "TRUNCATED_FILE"],
  ["a file of seven bytes", new Uint8Array(7), "TRUNCATED_FILE"],
  ["a length and no header", fileOf("", 0, 2n), "TRUNCATED_FILE"],
  ["an empty header", fileOf(""), "INVALID_HEADER"],
  ["a header longer than the file", fileOf(good, 8, 10_000n), "TRUNCATED_FILE"],
  ["a header one byte longer than the file", fileOf("{}", 0, 3n), "TRUNCATED_FILE"],
  ["a header above 100 MB", fileOf(good, 8, 100_000_001n), "INVALID_HEADER"],
  ["a header length of 2^53 + 1", fileOf(good, 8, 2n ** 53n + 1n), "INVALID_HEADER"],
  ["a header length of 2^64 - 1", fileOf(good, 8, 2n ** 64n - 1n), "INVALID_HEADER"],
  ["a header length that ends inside the header", fileOf(good, 8, 20n), "INVALID_HEADER"],
  ["a header length that reaches into the data", fileOf(good, 8, BigInt(good.length + 4)), "INVALID_HEADER"],
  // text
  ["a space before the header", fileOf(` ${good}`, 8), "INVALID_HEADER"],
  ["a byte order mark before the header", fileOf(`\ufeff${good}`, 8), "INVALID_HEADER"],
  ["an array instead of an object", fileOf("[]"), "INVALID_HEADER"],
  ["null instead of an object", fileOf("null"), "INVALID_HEADER"],
  ["only an opening brace", fileOf("{"), "INVALID_HEADER"],
  ["a missing closing brace", fileOf(`{"a":${entry()}`, 8), "INVALID_HEADER"],
  ["a trailing comma", fileOf(`{"a":${entry()},}`, 8), "INVALID_HEADER"],
  ["a missing comma", fileOf(`{"a":${entry()} "b":${entry()}}`, 8), "INVALID_HEADER"],
  ["a missing colon", fileOf(`{"a"${entry()}}`, 8), "INVALID_HEADER"],
  ["an unquoted key", fileOf(`{a:${entry()}}`, 8), "INVALID_HEADER"],
  ["single quotes", fileOf(`{'a':${entry()}}`, 8), "INVALID_HEADER"],
  ["a number as a key", fileOf(`{1:${entry()}}`, 8), "INVALID_HEADER"],
  ["a comment", fileOf(`{/**/"a":${entry()}}`, 8), "INVALID_HEADER"],
  ["text after the closing brace", fileOf(`${good}x`, 8), "INVALID_HEADER"],
  ["a second object after the first", fileOf(`${good}{}`, 8), "INVALID_HEADER"],
  ["zero bytes as padding", fileOf(`${good}\u0000\u0000`, 8), "INVALID_HEADER"],
  ["line ends as padding", fileOf(`${good}\n`, 8), "INVALID_HEADER"],
  ["tabs as padding", fileOf(`${good}\t`, 8), "INVALID_HEADER"],
  ["bytes that are no UTF-8 in a name", fileOf(bytes('{"', [0xff], `":${entry()}}`), 8), "INVALID_HEADER"],
  ["a cut-off UTF-8 character in a name", fileOf(bytes('{"', [0xe2, 0x82], `":${entry()}}`), 8), "INVALID_HEADER"],
  ["an overlong UTF-8 character in a name", fileOf(bytes('{"', [0xc0, 0x80], `":${entry()}}`), 8), "INVALID_HEADER"],
  ["a surrogate coded in UTF-8", fileOf(bytes('{"', [0xed, 0xa0, 0x80], `":${entry()}}`), 8), "INVALID_HEADER"],
  ["bytes beyond ASCII outside a string", fileOf(bytes("{", [0xc2, 0xa0], `"a":${entry()}}`), 8), "INVALID_HEADER"],
  ["a control character in a name", fileOf(`{"a\u0001":${entry()}}`, 8), "INVALID_HEADER"],
  ["a line end in a name", fileOf(`{"a\n":${entry()}}`, 8), "INVALID_HEADER"],
  ["an escape JSON does not know", fileOf(`{"\\x41":${entry()}}`, 8), "INVALID_HEADER"],
  ["a unicode escape with too few digits", fileOf(`{"\\u12":${entry()}}`, 8), "INVALID_HEADER"],
  ["a unicode escape with a sign", fileOf(`{"\\u+123":${entry()}}`, 8), "INVALID_HEADER"],
  ["a lone high surrogate escape", fileOf(`{"\\ud800":${entry()}}`, 8), "INVALID_HEADER"],
  ["a lone low surrogate escape", fileOf(`{"\\udc00x":${entry()}}`, 8), "INVALID_HEADER"],
  ["a string that never ends", fileOf(`{"a`), "INVALID_HEADER"],
  ["a backslash as the last byte", fileOf(`{"a\\`), "INVALID_HEADER"],
  // keys
  ["one name for two tensors", fileOf(`{"a":${entry()},"a":${entry({ offsets: "[8,16]" })}}`, 16), "DUPLICATE_KEY"],
  [
    "one name for two empty tensors",
    fileOf(`{"a":${entry({ shape: "[0]", offsets: "[0,0]" })},"a":${entry({ shape: "[0]", offsets: "[0,0]" })}}`),
    "DUPLICATE_KEY",
  ],
  [
    "one name twice, once escaped",
    fileOf(`{"a":${entry()},"\\u0061":${entry({ offsets: "[8,16]" })}}`, 16),
    "DUPLICATE_KEY",
  ],
  ["__metadata__ twice", fileOf('{"__metadata__":{},"__metadata__":{}}'), "DUPLICATE_KEY"],
  ["a metadata key twice", fileOf('{"__metadata__":{"k":"1","k":"2"}}'), "DUPLICATE_KEY"],
  ["dtype twice", one({ more: ',"dtype":"F32"' }), "DUPLICATE_KEY", "a"],
  ["shape twice", one({ more: ',"shape":[2]' }), "DUPLICATE_KEY", "a"],
  ["data_offsets twice", one({ more: ',"data_offsets":[0,8]' }), "DUPLICATE_KEY", "a"],
  ["dtype twice, once escaped", one({ more: ',"d\\u0074ype":"F32"' }), "DUPLICATE_KEY", "a"],
  ["an unknown field twice", one({ more: ',"x":1,"x":2' }), "DUPLICATE_KEY", "a"],
  // entries
  ["null as a tensor", fileOf('{"a":null}'), "INVALID_HEADER", "a"],
  ["a number as a tensor", fileOf('{"a":1}'), "INVALID_HEADER", "a"],
  ["text as a tensor", fileOf('{"a":"F32"}'), "INVALID_HEADER", "a"],
  ["a list as a tensor", fileOf('{"a":["F32",[2],[0,8]]}', 8), "INVALID_HEADER", "a"],
  ["an empty object as a tensor", fileOf('{"a":{}}'), "INVALID_HEADER", "a"],
  ["no dtype", fileOf('{"a":{"shape":[2],"data_offsets":[0,8]}}', 8), "INVALID_HEADER", "a"],
  ["no shape", fileOf('{"a":{"dtype":"F32","data_offsets":[0,8]}}', 8), "INVALID_HEADER", "a"],
  ["no data_offsets", fileOf('{"a":{"dtype":"F32","shape":[2]}}', 8), "INVALID_HEADER", "a"],
  ["an unknown field without an end", fileOf(`{"a":${entry({ more: ',"x":[1,2' })}`, 8), "INVALID_HEADER"],
  ["an unknown field with a broken value", one({ more: ',"x":tru' }), "INVALID_HEADER"],
  ["an unknown field nested too deep", one({ more: `,"x":${"[".repeat(5000)}${"]".repeat(5000)}` }), "INVALID_HEADER"],
  // metadata
  ["null metadata", fileOf('{"__metadata__":null}'), "INVALID_METADATA"],
  ["metadata that is a list", fileOf('{"__metadata__":["a"]}'), "INVALID_METADATA"],
  ["metadata that is text", fileOf('{"__metadata__":"pt"}'), "INVALID_METADATA"],
  ["a number in metadata", fileOf('{"__metadata__":{"k":1}}'), "INVALID_METADATA"],
  ["null in metadata", fileOf('{"__metadata__":{"k":null}}'), "INVALID_METADATA"],
  ["an object in metadata", fileOf('{"__metadata__":{"k":{}}}'), "INVALID_METADATA"],
  ["metadata without an end", fileOf('{"__metadata__":{"k":"v"'), "INVALID_HEADER"],
  ["metadata that looks like a tensor", fileOf(`{"__metadata__":${entry()}}`, 8), "INVALID_METADATA"],
  // dtype
  ["an unknown dtype", one({ dtype: '"F33"' }), "UNKNOWN_DTYPE", "a"],
  ["a dtype in small letters", one({ dtype: '"f32"' }), "UNKNOWN_DTYPE", "a"],
  ["PyTorch's name of a dtype", one({ dtype: '"torch.float32"' }), "UNKNOWN_DTYPE", "a"],
  ["an empty dtype", one({ dtype: '""' }), "UNKNOWN_DTYPE", "a"],
  ["a dtype with a space", one({ dtype: '"F32 "' }), "UNKNOWN_DTYPE", "a"],
  ["a number as dtype", one({ dtype: "32" }), "UNKNOWN_DTYPE", "a"],
  ["null as dtype", one({ dtype: "null" }), "UNKNOWN_DTYPE", "a"],
  // shape
  ["a number as shape", one({ shape: "2" }), "INVALID_SHAPE", "a"],
  ["null as shape", one({ shape: "null" }), "INVALID_SHAPE", "a"],
  ["an object as shape", one({ shape: "{}" }), "INVALID_SHAPE", "a"],
  ["a negative size", one({ shape: "[-2]" }), "INVALID_SHAPE", "a"],
  ["minus zero", one({ shape: "[-0]", offsets: "[0,0]" }, 0), "INVALID_SHAPE", "a"],
  ["a fraction", one({ shape: "[2.5]" }), "INVALID_SHAPE", "a"],
  ["a whole number with a point", one({ shape: "[2.0]" }), "INVALID_SHAPE", "a"],
  ["a number with an exponent", one({ shape: "[2e0]" }), "INVALID_SHAPE", "a"],
  ["a leading zero", one({ shape: "[02]" }), "INVALID_HEADER"],
  ["a plus sign", one({ shape: "[+2]" }), "INVALID_SHAPE", "a"],
  ["text as a size", one({ shape: '["2"]' }), "INVALID_SHAPE", "a"],
  ["null as a size", one({ shape: "[null]" }), "INVALID_SHAPE", "a"],
  ["true as a size", one({ shape: "[true,2]" }), "INVALID_SHAPE", "a"],
  ["a nested shape", one({ shape: "[[2]]" }), "INVALID_SHAPE", "a"],
  ["a trailing comma in a shape", one({ shape: "[2,]" }), "INVALID_SHAPE", "a"],
  ["a size of 2^53", one({ shape: "[9007199254740992]" }), "INVALID_SHAPE", "a"],
  ["a size above 2^64", one({ shape: "[18446744073709551618]" }), "INVALID_SHAPE", "a"],
  ["a size of a thousand digits", one({ shape: `[${"9".repeat(1000)}]` }), "INVALID_SHAPE", "a"],
  ["a product that overflows 2^64 to 2", one({ shape: "[4294967296,4294967296,2]" }), "INVALID_SHAPE", "a"],
  [
    "a product that overflows before a zero",
    one({ shape: "[4294967296,4294967296,0]", offsets: "[0,0]" }, 0),
    "INVALID_SHAPE",
    "a",
  ],
  ["bytes that overflow although elements do not", one({ shape: "[4503599627370496]" }), "INVALID_SHAPE", "a"],
  ["a shape of 65 axes", one({ shape: `[${Array(65).fill(1)}]`, offsets: "[0,4]" }, 4), "INVALID_SHAPE", "a"],
  ["three F4 elements", one({ dtype: '"F4"', shape: "[3]", offsets: "[0,2]" }, 2), "INVALID_SHAPE", "a"],
  ["two F6_E2M3 elements", one({ dtype: '"F6_E2M3"', shape: "[2]", offsets: "[0,2]" }, 2), "INVALID_SHAPE", "a"],
  ["five F6_E3M2 elements", one({ dtype: '"F6_E3M2"', shape: "[5]", offsets: "[0,4]" }, 4), "INVALID_SHAPE", "a"],
  // offsets
  ["null as offsets", one({ offsets: "null" }), "INVALID_OFFSETS", "a"],
  ["a number as offsets", one({ offsets: "8" }), "INVALID_OFFSETS", "a"],
  ["no offsets in the list", one({ offsets: "[]" }), "INVALID_OFFSETS", "a"],
  ["one offset", one({ offsets: "[0]" }), "INVALID_OFFSETS", "a"],
  ["three offsets", one({ offsets: "[0,8,8]" }), "INVALID_OFFSETS", "a"],
  ["a negative offset", one({ offsets: "[-8,0]" }), "INVALID_OFFSETS", "a"],
  ["an offset with a point", one({ offsets: "[0,8.0]" }), "INVALID_OFFSETS", "a"],
  ["an offset as text", one({ offsets: '["0","8"]' }), "INVALID_OFFSETS", "a"],
  ["an offset above 2^53", one({ offsets: "[9007199254740992,9007199254741000]" }), "INVALID_OFFSETS", "a"],
  ["an end before the beginning", one({ offsets: "[8,0]" }), "INVALID_OFFSETS", "a"],
  ["too few bytes for the shape", one({ offsets: "[0,4]" }, 4), "SIZE_MISMATCH", "a"],
  ["too many bytes for the shape", one({ offsets: "[0,16]" }, 16), "SIZE_MISMATCH", "a"],
  ["no bytes for a tensor with elements", one({ offsets: "[0,0]" }, 0), "SIZE_MISMATCH", "a"],
  ["bytes for an empty tensor", one({ shape: "[0]" }), "SIZE_MISMATCH", "a"],
  ["no bytes for a scalar", one({ shape: "[]", offsets: "[0,0]" }, 0), "SIZE_MISMATCH", "a"],
  ["an F4 tensor counted in bytes", one({ dtype: '"F4"', shape: "[8]" }), "SIZE_MISMATCH", "a"],
  // layout
  ["a gap before the first tensor", one({ offsets: "[8,16]" }, 16), "INVALID_OFFSETS", "a"],
  ["a gap between tensors", two("[0,8]", "[12,20]", 20), "INVALID_OFFSETS", "b"],
  ["tensors that overlap", two("[0,8]", "[4,12]", 12), "INVALID_OFFSETS", "b"],
  ["two tensors over the same bytes", two("[0,8]", "[0,8]", 8), "INVALID_OFFSETS", "b"],
  [
    "an empty tensor inside another",
    fileOf(`{"a":${entry()},"b":${entry({ shape: "[0]", offsets: "[4,4]" })}}`, 8),
    "INVALID_OFFSETS",
    "b",
  ],
  [
    "an empty tensor beyond the data",
    fileOf(`{"a":${entry()},"b":${entry({ shape: "[0]", offsets: "[12,12]" })}}`, 8),
    "INVALID_OFFSETS",
    "b",
  ],
  ["data that ends too early", one({}, 7), "TRUNCATED_FILE", "a"],
  ["no data at all", one({}, 0), "TRUNCATED_FILE", "a"],
  ["the second tensor cut off", two("[0,8]", "[8,16]", 12), "TRUNCATED_FILE", "b"],
  ["a byte after the data", one({}, 9), "INVALID_OFFSETS"],
  ["data without tensors", fileOf("{}", 8), "INVALID_OFFSETS"],
];

describe("a malformed safetensors file is refused", () => {
  test("each case has a name of its own and there are more kinds than the reference reader refuses", () => {
    expect(new Set(cases.map(([name]) => name)).size).toBe(cases.length);
    expect(cases.length).toBeGreaterThan(53);
  });

  for (const [name, file, code, tensor] of cases) {
    test(`${name}: ${code}`, async () => {
      const error = await openSafetensors(bytesSource(file, "bad.safetensors")).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(LoomweightError);
      const { details, message } = error as LoomweightError;
      expect({ code: details.code, file: details.file, tensor: details.tensor }).toEqual({
        code,
        file: "bad.safetensors",
        tensor,
      });
      expect(message).toContain("bad.safetensors");
      // what was wanted is said, except where the fault is that something is there twice
      expect(details.expected).toBeTruthy();
      expect(message.length).toBeLessThan(800);
    });
  }
});
