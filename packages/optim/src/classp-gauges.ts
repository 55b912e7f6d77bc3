import { cast, greater, mul, reduceSum, type Value } from "@loomweight/graph";
import { elementCount, type Tensor, toFloat64 } from "@loomweight/tensor";
import { square } from "./moments.ts";
import { total } from "./norms.ts";

/** Mean of CLASSP's sums over all entries: how far the weights are taken up by what was learned. 0 without any. */
export function averageGradSum(state: Readonly<Record<string, Tensor>>): number {
  let [sum, count] = [0, 0];
  for (const [name, tensor] of Object.entries(state)) {
    if (!name.startsWith("grad_sum/")) continue;
    for (const value of toFloat64(tensor)) sum += value;
    count += elementCount(tensor.shape);
  }
  return count === 0 ? 0 : sum / count;
}

/** Share of all entries whose squared gradient is above a threshold: those that CLASSP moves; a scalar. */
export function acceptedFraction(gradients: Readonly<Record<string, Value>>, threshold: number): Value {
  const values = Object.values(gradients);
  const count = values.reduce((all, { shape }) => all + elementCount(shape as readonly number[]), 0);
  const open = values.map((g) => reduceSum(cast(greater(square(g), threshold), g.dtype), undefined, false));
  return mul(total(open), 1 / count);
}
