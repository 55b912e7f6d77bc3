import type { GradientRule, GradientTable } from "../gradient/rule.ts";
import { contrib } from "../op.ts";
import { activationGradients } from "./activations.ts";
import { attentionGradients, scaledAttentionGradients } from "./attention.ts";
import { composedGradients } from "./by-parts.ts";
import { controlGradients } from "./control.ts";
import { convolutionGradients } from "./convolution.ts";
import { binaryGradients, unaryGradients } from "./elementwise.ts";
import { generateGradients } from "./generate.ts";
import { indexingGradients } from "./indexing.ts";
import { logicGradients } from "./logic.ts";
import { matmulGradients } from "./matmul.ts";
import { normalizeGradients } from "./normalize.ts";
import { otherGradients } from "./others.ts";
import { contribQuantizedGradients, quantizedGradients } from "./quantized.ts";
import { reduceGradients } from "./reduce.ts";
import { shapeGradients } from "./shape.ts";
import { sumGradients } from "./sums.ts";

/** The gradient rule of every op that has one, by domain. */
export function gradientTables(): Readonly<Record<string, GradientTable>> {
  return {
    "": {
      ...binaryGradients,
      ...unaryGradients,
      ...activationGradients,
      ...sumGradients,
      ...logicGradients,
      ...shapeGradients,
      ...indexingGradients,
      ...generateGradients,
      ...reduceGradients,
      ...matmulGradients,
      ...normalizeGradients,
      ...convolutionGradients,
      ...composedGradients,
      ...controlGradients,
      ...quantizedGradients,
      ...otherGradients,
      ...scaledAttentionGradients,
    },
    [contrib]: { ...attentionGradients, ...contribQuantizedGradients },
  };
}

/** Rule of an op, or undefined: it cannot be differentiated. */
export function findGradient(
  tables: Readonly<Record<string, GradientTable>> | undefined,
  domain: string,
  op: string,
): GradientRule | undefined {
  const name = domain === "ai.onnx" ? "" : domain;
  const table = tables !== undefined && Object.hasOwn(tables, name) ? tables[name] : undefined;
  return table !== undefined && Object.hasOwn(table, op) ? table[op] : undefined;
}
