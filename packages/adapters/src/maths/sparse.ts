import { scatterND, transpose, type Value } from "@loomweight/graph";
import { contiguousData, fromData, type Tensor } from "@loomweight/tensor";
import type { LayerValues } from "../define.ts";

/** Whether a layer is a slice of a larger one. */
function isSlice(layer: LayerValues): boolean {
  return layer.offset !== undefined;
}

/**
 * weight [out, in] with `values` [count] added at `positions` [2, count] (rows, then columns) of the whole layer.
 * Positions outside a slice are left out; each place occurs once or adds up.
 */
export function addAt(weight: Value, layer: LayerValues, positions: Value, values: Value): Value {
  if (!isSlice(layer)) return scatterND(weight, transpose(positions, [1, 0]), values, "add");
  const { out: top, in: left } = layer.offset ?? { out: 0, in: 0 };
  const at = contiguousData(positions as Tensor<"int64">) as BigInt64Array;
  const given = contiguousData(values as Tensor<"float64">) as Float64Array;
  const inside: bigint[] = [];
  const own: number[] = [];
  for (let i = 0; i < given.length; i++) {
    const [row, column] = [Number(at[i]) - top, Number(at[given.length + i]) - left];
    if (row < 0 || row >= layer.out || column < 0 || column >= layer.in) continue;
    inside.push(BigInt(row), BigInt(column));
    own.push(given[i]);
  }
  if (own.length === 0) return weight;
  const places = fromData("int64", BigInt64Array.from(inside), [own.length, 2]);
  return scatterND(weight, places, fromData("float64", Float64Array.from(own), [own.length]), "add");
}

/** Rows and columns [2, count] of places that are counted row by row in a matrix of `width` columns. */
export function rowsAndColumns(places: Float64Array, width: number): Tensor<"int64"> {
  const both = new BigInt64Array(places.length * 2);
  places.forEach((place, i) => {
    both[i] = BigInt(Math.floor(place / width));
    both[places.length + i] = BigInt(place % width);
  });
  return fromData("int64", both, [2, places.length]);
}
