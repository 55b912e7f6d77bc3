import type { LazyTensor, OnnxGraph } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";

/** A constant weight seen as a matrix. */
export interface WeightMatrix {
  readonly name: string;
  /** [K, N]: leading axes of 1 are squeezed. */
  readonly data: LazyTensor;
  /** How many leading axes of 1 there were. */
  readonly leading: number;
}

/**
 * The initializer `name` as a matrix [K, N]: float32 or float16, leading axes beyond two all 1, not empty. undefined
 * for anything else.
 */
export function weightMatrix(graph: OnnxGraph, name: string): WeightMatrix | undefined {
  const initializer = graph.initializers.get(name);
  if (initializer === undefined) return undefined;
  const { dtype, shape, data } = initializer;
  const leading = shape.length - 2;
  if (dtype !== "float32" && dtype !== "float16") return undefined;
  if (leading < 0 || shape.slice(0, leading).some((size) => size !== 1) || shape.includes(0)) return undefined;
  return { name, data: leading === 0 ? data : squeezed(data, leading), leading };
}

function squeezed(data: LazyTensor, leading: number): LazyTensor {
  const { dtype, origin, stream, elements } = data;
  return {
    dtype,
    origin,
    ...(stream && { stream }),
    ...(elements && { elements }),
    shape: data.shape.slice(leading),
    async read(): Promise<Tensor> {
      const tensor = await data.read();
      return { ...tensor, shape: tensor.shape.slice(leading), stride: tensor.stride.slice(leading) };
    },
  };
}

/** Number of axes of a value, where the graph says it. */
export function rankOf(graph: OnnxGraph, value: string): number | undefined {
  const initializer = graph.initializers.get(value);
  if (initializer !== undefined) return initializer.shape.length;
  const info = graph.valueInfo.get(value) ?? [...graph.inputs, ...graph.outputs].find(({ name }) => name === value);
  return info?.shape?.length;
}
