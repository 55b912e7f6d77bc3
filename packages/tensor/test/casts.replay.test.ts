import { existsSync } from "node:fs";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { type CastOptions, cast, type DType, fromData, isDType, type Storage, type Tensor } from "../src/index.ts";

// Casts as ml_dtypes, onnx's reference evaluator and onnxruntime make them; fixtures/quant/README.md, "float16 and
// small casts". Its tolerance: codes equal, NaN compared as a class.

interface CastCase {
  readonly name: string;
  readonly values?: string;
  readonly [result: string]: string | undefined;
}

const area = fixtureArea("quant");
const file = area === undefined ? undefined : join(area, "casts.json");
const present = file !== undefined && existsSync(file);
const cases = present ? readFixtureJson<{ cases: CastCase[] }>(file).cases : [];
const tensors = present ? readFixtureTensors(join(area as string, "casts.safetensors")) : new Map<string, Tensor>();

/** "float8e4m3fn" is "float8_e4m3fn" here. */
function dtypeOf(name: string): DType | undefined {
  const spelled = name.replace(/^float8e/, "float8_e");
  return isDType(spelled) ? spelled : undefined;
}

function recorded(name: string): Tensor {
  const found = tensors.get(name);
  if (found === undefined) throw new Error(`casts.safetensors has no "${name}"`);
  return found;
}

/** Codes with every NaN the same. */
function oneNaN(tensor: Tensor): (number | "NaN")[] {
  const values = cast(tensor, "float32").data;
  return Array.from(tensor.data as ArrayLike<number>, (code, i) => (Number.isNaN(values[i]) ? "NaN" : code));
}

/** float32 values with their bits, NaN as a class. */
function bits(tensor: Tensor): (number | "NaN")[] {
  const values = cast(tensor, "float32").data;
  const words = new Uint32Array(values.slice().buffer);
  return Array.from(words, (word, i) => (Number.isNaN(values[i]) ? "NaN" : word));
}

function expectCodes(dtype: DType, name: string, options: CastOptions): void {
  const wanted = recorded(name);
  const found = cast(recorded("values"), dtype, options);
  expect(oneNaN(found)).toEqual(oneNaN(fromData(dtype, wanted.data as Storage, wanted.shape)));
}

test("the recorded casts are there", (context) => {
  if (!present) context.skip("fixtures/quant/casts.json is not among the bundled references");
  expect(cases.length).toBeGreaterThan(0);
});

describe.each(cases.filter(({ name }) => !name.includes("int4")))("$name", (recordedCase) => {
  const dtype = dtypeOf(recordedCase.name);
  for (const [result, tensorName] of Object.entries(recordedCase)) {
    if (result === "name" || tensorName === undefined) continue;
    test(`equals ${result}`, (context) => {
      if (dtype === undefined) return context.skip(`${recordedCase.name} is a dtype that this project does not have`);
      const values = recorded("values");
      switch (result) {
        case "mlDtypes":
        case "onnxReference":
        case "onnxReferenceSaturate0":
          return expectCodes(dtype, tensorName, {});
        case "onnxReferenceSaturate1":
          return expectCodes(dtype, tensorName, { overflow: "saturate" });
        case "decoded":
        case "onnxruntimeDecoded":
          return expect(bits(cast(values, dtype))).toEqual(bits(recorded(tensorName)));
        case "onnxruntimeDecodedSaturate1":
          return expect(bits(cast(values, dtype, { overflow: "saturate" }))).toEqual(bits(recorded(tensorName)));
        case "onnxruntimeDecodedSaturate0": {
          // onnxruntime differs from ml_dtypes and onnx in a band of overflow, which the README names.
          const source = values.data as Float32Array;
          const band = (x: number) =>
            dtype === "float8_e4m3fn" ? x >= 480 && x < 496 : dtype === "float8_e5m2" && x >= 61440 && x < 65536;
          const keep = (all: (number | "NaN")[]) => all.filter((_, i) => !band(Math.abs(source[i])));
          return expect(keep(bits(cast(values, dtype)))).toEqual(keep(bits(recorded(tensorName))));
        }
        default:
          throw new Error(`a recorded result of an unknown kind: ${result}`);
      }
    });
  }
});

describe.each(cases.filter(({ name }) => name.includes("int4")))("$name", (recordedCase) => {
  const dtype = recordedCase.name as "int4" | "uint4";
  for (const [result, tensorName] of Object.entries(recordedCase)) {
    if (result === "name" || result === "values" || tensorName === undefined) continue;
    test(`equals ${result}`, (context) => {
      const values = recorded(recordedCase.values as string);
      const found = (options: CastOptions) => Array.from(cast(values, dtype, options).data);
      const wanted = Array.from(recorded(tensorName).data as ArrayLike<number>);
      switch (result) {
        case "mlDtypes":
        case "Cast.onnxReference":
          return expect(found({ rounding: "truncate", overflow: "wrap" })).toEqual(wanted);
        case "QuantizeLinear.onnxReference":
        case "QuantizeLinear.onnxruntimeDecoded":
          return expect(found({})).toEqual(wanted);
        case "Cast.onnxruntimeDecoded":
          return context.skip("onnxruntime's own rule, half away from zero, which no cast here follows");
        default:
          throw new Error(`a recorded result of an unknown kind: ${result}`);
      }
    });
  }
});

for (const name of ["float8e4m3fn", "float8e5m2"]) {
  test(`every code of ${name} has its recorded value`, (context) => {
    if (!present) return context.skip("fixtures/quant/casts.json is not among the bundled references");
    const codes = Uint8Array.from({ length: 256 }, (_, code) => code);
    expect(bits(fromData(dtypeOf(name) as DType, codes, [256]))).toEqual(bits(recorded(`${name}/allCodes`)));
  });
}
