import { contrib, type NamedRule, type OpTable } from "../op.ts";
import { attentionOps } from "./attention.ts";
import { convolutionOps } from "./convolution.ts";
import { binaryOps, unaryOps } from "./elementwise.ts";
import { generateOps } from "./generate.ts";
import { indexingOps } from "./indexing.ts";
import { logicOps } from "./logic.ts";
import { matmulOps } from "./matmul.ts";
import { normalizeOps } from "./normalize.ts";
import { contribQuantizedOps, quantizedOps } from "./quantized.ts";
import { reduceOps } from "./reduce.ts";
import { scatterOps } from "./scatter.ts";
import { shapeOps } from "./shape.ts";

/** Every op that is known, by domain; for imported graphs, whose ops are names. */
export function opTables(): Readonly<Record<string, OpTable>> {
  return {
    "": {
      ...binaryOps,
      ...unaryOps,
      ...logicOps,
      ...shapeOps,
      ...indexingOps,
      ...scatterOps,
      ...generateOps,
      ...reduceOps,
      ...matmulOps,
      ...normalizeOps,
      ...convolutionOps,
      ...quantizedOps,
    },
    [contrib]: { ...attentionOps, ...contribQuantizedOps },
  };
}

/** Rule of an op, or undefined: it is opaque, kept as it is. */
export function findRule(tables: Readonly<Record<string, OpTable>>, domain: string, op: string): NamedRule | undefined {
  const name = domain === "ai.onnx" ? "" : domain;
  const table = Object.hasOwn(tables, name) ? tables[name] : undefined;
  return table !== undefined && Object.hasOwn(table, op) ? { ...table[op], op, domain: name } : undefined;
}
