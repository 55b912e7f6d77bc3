import { elementCount, type Tensor } from "@loomweight/tensor";
import { attributes, int, intOf, text, textOf } from "../attributes.ts";
import { normalizeAxis } from "../dims.ts";
import { elementsOf, tensorOf } from "../evaluate/numbers.ts";
import { applyOne, defineOps, integersOf, ruleOf } from "../op.ts";
import type { Value } from "../value.ts";
import { badShape, inputOf, sameDtype } from "./same-dtype.ts";
import { requireIndices } from "./shape.ts";

/** How an update meets what is there. */
export type ScatterReduction = "none" | "add" | "mul" | "min" | "max";

/** What `reduction` makes of an old and a new value; undefined for a name that ONNX does not know. */
export function combiner(reduction: string): ((old: number, update: number) => number) | undefined {
  if (reduction === "none") return (_, update) => update;
  if (reduction === "add") return (old, update) => old + update;
  if (reduction === "mul") return (old, update) => old * update;
  if (reduction === "min") return Math.min;
  if (reduction === "max") return Math.max;
  return undefined;
}

/** One update per element: out[i][indices[i][j]] = updates[i][j] for axis 1. */
export const scatterOps = /* @__PURE__ */ defineOps({
  ScatterElements: {
    inputs: [3, 3],
    infer(call) {
      const { shape } = inputOf(call, 0);
      const indices = requireIndices(call, 1);
      normalizeAxis(intOf(call, "axis", 0), shape.length, call.op);
      if (indices.shape.length !== shape.length || inputOf(call, 2).shape.length !== shape.length) {
        throw badShape(
          call,
          `indices [${indices.shape}] and updates [${inputOf(call, 2).shape}] need the axes of [${shape}]`,
        );
      }
      return [{ dtype: sameDtype(call, [0, 2]), shape }];
    },
    evaluate(call) {
      const [x, indices, updates] = call.inputs as [Tensor, Tensor, Tensor];
      const axis = normalizeAxis(intOf(call, "axis", 0), x.shape.length, call.op);
      const reduction = textOf(call, "reduction", "none");
      const combine = combiner(reduction);
      if (combine === undefined) throw badShape(call, `there is no reduction "${reduction}"`);
      const out = elementsOf(x).slice();
      const [at, data] = [integersOf(indices), elementsOf(updates)];
      const steps = x.shape.map((_, i) => elementCount(x.shape.slice(i + 1)));
      const { shape } = indices;
      for (let i = 0; i < at.length; i++) {
        const index = at[i] < 0 ? at[i] + x.shape[axis] : at[i];
        if (index < 0 || index >= x.shape[axis])
          throw badShape(call, `index ${at[i]} lies outside an axis of ${x.shape[axis]}`);
        let [rest, place] = [i, index * steps[axis]];
        for (let k = shape.length - 1; k >= 0; k--) {
          const coordinate = rest % shape[k];
          rest = (rest - coordinate) / shape[k];
          if (k !== axis) place += coordinate * steps[k];
        }
        out[place] = combine(out[place], data[i]);
      }
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples: [
      { inputs: [[3, 4], { shape: [2, 4], dtype: "int64", values: [0, 2, 1, -1, 1, 0, 2, 0] }, [2, 4]] },
      {
        inputs: [[3, 4], { shape: [3, 2], dtype: "int64", values: [0, 3, 1, 1, -1, 2] }, [3, 2]],
        attributes: { axis: int(1), reduction: text("add") },
      },
      {
        inputs: [[4], { shape: [3], dtype: "int64", values: [1, 1, 3] }, [3]],
        attributes: { reduction: text("max") },
      },
    ],
  },
});

/** `x` with `updates` at `indices` along `axis` (default 0); `reduction` combines with what is there. */
export function scatterElements(
  x: Value,
  indices: Value,
  updates: Value,
  { axis = 0, reduction = "none" }: { readonly axis?: number; readonly reduction?: ScatterReduction } = {},
): Value {
  return applyOne(
    ruleOf(scatterOps, "ScatterElements"),
    [x, indices, updates],
    attributes({ axis: int(axis), reduction: reduction === "none" ? undefined : text(reduction) }),
  );
}
