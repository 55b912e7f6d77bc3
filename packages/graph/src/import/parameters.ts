import { LoomweightError } from "@loomweight/tensor";
import { isConcrete } from "../dims.ts";
import { input } from "../inputs.ts";
import { mul } from "../ops/elementwise.ts";
import type { GraphValue, Value } from "../value.ts";
import type { ImportedModel } from "./import-onnx.ts";
import type { ValueSite } from "./place.ts";

/** Names: a text in which * stands for anything, or a regular expression that is looked for anywhere. */
export type NamePattern = string | RegExp;

/** Whether a name fits: the whole of it for a text, any part for a regular expression. */
export function nameMatcher(pattern: NamePattern): (name: string) => boolean {
  if (pattern instanceof RegExp) {
    const plain = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));
    return (name) => plain.test(name);
  }
  const parts = pattern.split("*");
  return (name) => matchesParts(name, parts);
}

/** Parts in order, the first at the beginning and the last at the end: linear, whatever the text. */
function matchesParts(name: string, parts: readonly string[]): boolean {
  if (parts.length === 1) return name === parts[0];
  const last = parts[parts.length - 1];
  if (!name.startsWith(parts[0]) || !name.endsWith(last)) return false;
  let at = parts[0].length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= name.length - last.length;
}

/**
 * Weights of an imported model whose names fit, in the order of the file: "encoder.*.weight", /bias$/. Throws
 * `UNKNOWN_TENSOR` when none does.
 */
export function findParameters(imported: ImportedModel, pattern: NamePattern = "*"): ReadonlyMap<string, GraphValue> {
  const fits = nameMatcher(pattern);
  const found = new Map([...imported.parameters].filter(([name]) => fits(name)));
  if (found.size > 0) return found;
  throw new LoomweightError({
    code: "UNKNOWN_TENSOR",
    problem: `no weight of the model is named like ${String(pattern)}`,
    expected: `one of ${imported.parameters.size} names`,
    found: [...imported.parameters.keys()].slice(0, 5).join(", "),
  });
}

export interface Dropout {
  /** Hand it to `instantiate`. */
  readonly change: (site: ValueSite) => Value | undefined;
  /**
   * Filled while instantiating: one input per place, named "dropout/<value>", of the value's dtype and shape, to be
   * fed 0 (with probability `rate`) or 1 / (1 − rate) in training, and 1 else.
   */
  readonly masks: readonly GraphValue[];
  readonly rate: number;
}

/**
 * Dropout for an imported graph: multiplies the values that `at` names by masks, which are inputs of the graph, as no
 * random operator is used. "Dropout" as `ops` brings back the dropout that the file was exported with.
 * Throws `INVALID_OPTION` for a rate outside [0, 1).
 */
export function insertDropout(
  rate: number,
  where: { readonly at?: NamePattern; readonly ops?: readonly string[] },
): Dropout {
  if (!(rate >= 0 && rate < 1)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "the rate of a dropout is out of range",
      option: "rate",
      expected: "0 or more, less than 1",
      found: `${rate}`,
    });
  }
  const named = where.at === undefined ? undefined : nameMatcher(where.at);
  const masks: GraphValue[] = [];
  return {
    rate,
    masks,
    change({ name, node, value }) {
      if (!(named?.(name) ?? false) && !(where.ops?.includes(node.op) ?? false)) return undefined;
      if (!value.dtype.startsWith("float")) {
        throw new LoomweightError({
          code: "DTYPE_MISMATCH",
          problem: `dropout cannot be put on "${name}"`,
          node: node.name,
          expected: "floats",
          found: value.dtype,
        });
      }
      if (!isConcrete(value.shape) && value.shape.includes("?")) {
        throw new LoomweightError({
          code: "UNKNOWN_SHAPE",
          problem: `dropout on "${name}" needs its shape`,
          node: node.name,
          found: `[${value.shape}]`,
          fix: "Instantiate with inputs of known sizes.",
        });
      }
      const mask = input(`dropout/${name}`, value.dtype, value.shape);
      masks.push(mask);
      return mul(value, mask);
    },
  };
}
