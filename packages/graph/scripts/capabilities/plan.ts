import type { DType } from "@loomweight/tensor";
import type { NamedRule } from "../../src/op.ts";
import { opTables } from "../../src/ops/catalogue.ts";

/** Every op that has samples. */
export function probedOps(): NamedRule[] {
  return Object.entries(opTables()).flatMap(([domain, table]) =>
    Object.entries(table)
      .filter(([, rule]) => rule.samples.length > 0)
      .map(([op, rule]) => ({ ...rule, op, domain })),
  );
}

const all: readonly DType[] = [
  "float32",
  "float64",
  "float16",
  "bfloat16",
  "int32",
  "int64",
  "uint32",
  "uint8",
  "int8",
  "bool",
];

/** The software driver that WebGPU is probed on computes in float32 only. */
export function probedDtypes(provider: string): readonly DType[] {
  return provider === "webgpu" ? all.filter((each) => each !== "float16") : all;
}
