import { fromFloat64, invalidOption, isFloat, type Tensor, toFloat64 } from "@loomweight/tensor";
import { type ModelTensors, taskVectorOf } from "./opcm.ts";

export interface ContinualTiesOptions {
  /** Share of the entries of each task vector that is kept, largest magnitude over the whole model. Default 0.2. */
  readonly density?: number;
  /** Scale of what is added. Default 0.3. */
  readonly scaling?: number;
  /** Whether entries that agree with the elected sign are added or averaged. Default "sum". */
  readonly combine?: "sum" | "mean";
}

/**
 * Continual TIES, a baseline of OPCM: the merged task vector and the new one are trimmed over the whole model, one sign
 * is elected per entry, what agrees is combined, scaled and added to the merged model. `merged` absent: the first model
 * enters as its task vector times `scaling`. float64; the whole model in memory.
 * Source: Yadav et al. 2023, arXiv:2306.01708, as run by the authors of arXiv:2501.09522.
 */
export function continualTies(
  base: ModelTensors,
  merged: ModelTensors | undefined,
  model: ModelTensors,
  { density = 0.2, scaling = 0.3, combine = "sum" }: ContinualTiesOptions = {},
): Map<string, Tensor> {
  if (!(density > 0 && density <= 1)) {
    throw invalidOption({ option: "ties.density" }, density, "a number above 0 and at most 1");
  }
  const names = [...base].filter(([, { dtype }]) => isFloat(dtype)).map(([name]) => name);
  const flat = (tensors: ModelTensors) =>
    concatenated(names.map((name) => taskVectorOf(name, base.get(name) as Tensor, tensors.get(name) as Tensor).data));
  const next = flat(model);
  const change = merged === undefined ? next : consensus([flat(merged), next], density, combine);
  const from = merged ?? base;
  const out = new Map<string, Tensor>(from);
  let at = 0;
  for (const name of names) {
    const start = from.get(name) as Tensor;
    const values = toFloat64(start).map((value, i) => value + scaling * change[at + i]);
    at += values.length;
    out.set(name, fromFloat64(values, start.shape, start.dtype));
  }
  return out;
}

function concatenated(parts: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function consensus(taskVectors: readonly Float64Array[], density: number, combine: "sum" | "mean"): Float64Array {
  const trimmed = taskVectors.map((values) => keepLargest(values, density));
  const votes = trimmed[0].map((_, i) => trimmed.reduce((sum, values) => sum + values[i], 0));
  // An entry without a vote goes with the majority of all entries.
  const majority = Math.sign(votes.reduce((sum, vote) => sum + Math.sign(vote), 0));
  return votes.map((vote, i) => {
    const sign = Math.sign(vote) || majority;
    const agreeing = trimmed.map((values) => values[i]).filter((value) => (sign > 0 ? value > 0 : value < 0));
    const sum = agreeing.reduce((total, value) => total + value, 0);
    return combine === "sum" ? sum : sum / Math.max(1, agreeing.length);
  });
}

function keepLargest(values: Float64Array, density: number): Float64Array {
  const dropped = values.length - Math.floor(values.length * density);
  if (dropped === 0) return values;
  const threshold = values.map(Math.abs).sort()[dropped - 1];
  return values.map((value) => (Math.abs(value) >= threshold ? value : 0));
}
