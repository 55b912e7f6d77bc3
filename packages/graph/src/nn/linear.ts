import { isConcrete } from "../dims.ts";
import { add } from "../ops/elementwise.ts";
import { gather } from "../ops/indexing.ts";
import { gemm, matMul } from "../ops/matmul.ts";
import { reshape, transpose } from "../ops/shape.ts";
import type { Value } from "../value.ts";
import { inLayer, optionalParameter, type Parameters, parameterOf } from "./parameters.ts";

/** y = x Wᵀ + b for x [.., in], weight [out, in], bias [out] where there is one. As torch.nn.Linear. */
export function linear(parameters: Parameters, layer: string, x: Value): Value {
  return inLayer(layer, () => {
    return linearOf(x, parameterOf(parameters, layer, "weight"), optionalParameter(parameters, layer, "bias"));
  });
}

/** The same with the weights at hand. */
export function linearOf(x: Value, weight: Value, bias?: Value): Value {
  const { shape } = x;
  if (shape.length === 2) return gemm(x, weight, bias, { transB: true });
  if (!isConcrete(shape)) {
    const y = matMul(x, transpose(weight, [1, 0]));
    return bias === undefined ? y : add(y, bias);
  }
  // As one product of matrices: forward and backward are then one Gemm each.
  const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const flat = reshape(x, [rows, shape[shape.length - 1]]);
  return reshape(gemm(flat, weight, bias, { transB: true }), [...shape.slice(0, -1), Number(weight.shape[0])]);
}

/** Rows of weight [count, size] at ids [..]: [.., size]. ids of int32 train on WebGPU too, of int64 on CPU and wasm. */
export function embedding(parameters: Parameters, layer: string, ids: Value): Value {
  return inLayer(layer, () => gather(parameterOf(parameters, layer, "weight"), ids));
}
