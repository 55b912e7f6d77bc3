import { type Tensor, tensor } from "@loomweight/tensor";

/** Values of different sizes and signs, none of them 0. */
export function wave(shape: readonly number[], phase: number, dtype: "float32" | "float64" = "float64"): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const values = Array.from({ length: count }, (_, i) => Math.sin(1 + 1.7 * i + 2.3 * phase) * 2 ** ((i + phase) % 3));
  return tensor(values, [...shape], dtype);
}
