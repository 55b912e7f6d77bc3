import { existsSync, readFileSync } from "node:fs";
import { brotliDecompressSync } from "node:zlib";
import type { DType } from "@loomweight/tensor";
import { dtypeOfOnnx, isOnnxDtype } from "../src/index.ts";

/** A value of a case: a tensor's dtype and shape, or the kind of what is none ("sequence_type", "optional_type"). */
export interface CaseValue {
  readonly name: string;
  readonly kind?: string;
  /** undefined: a dtype that this project does not know, by ONNX's number `elementType`. */
  readonly dtype?: DType;
  readonly elementType?: number;
  readonly shape?: readonly number[];
  readonly values?: readonly number[];
}

/** One of the standard node test cases of onnx, recorded by tools/onnx-node-cases. */
export interface NodeCase {
  readonly name: string;
  readonly model: Uint8Array;
  readonly inputs: readonly CaseValue[];
  readonly outputs: readonly CaseValue[];
}

const recorded = process.env.LOOMWEIGHT_NODE_CASES ?? new URL("data/node-cases.br", import.meta.url);

export const hasNodeCases = (): boolean => existsSync(recorded);

export function readNodeCases(): NodeCase[] {
  const bytes = brotliDecompressSync(readFileSync(recorded));
  const length = bytes.readUInt32LE(0);
  const { cases } = JSON.parse(bytes.toString("utf8", 4, 4 + length));
  let at = 4 + length;
  return cases.map((each: { name: string; bytes: number; inputs: Recorded[]; outputs: Recorded[] }): NodeCase => {
    const model = new Uint8Array(bytes.subarray(at, at + each.bytes));
    at += each.bytes;
    return { name: each.name, model, inputs: each.inputs.map(caseValue), outputs: each.outputs.map(caseValue) };
  });
}

interface Recorded extends Omit<CaseValue, "dtype"> {
  readonly type?: number;
}

function caseValue({ type, ...rest }: Recorded): CaseValue {
  if (type === undefined) return rest;
  return isOnnxDtype(type) ? { ...rest, dtype: dtypeOfOnnx(type) } : { ...rest, elementType: type };
}
