import { add, matMul, transpose, type Value } from "@loomweight/graph";
import { full, type Tensor, zeros } from "@loomweight/tensor";
import type { CgaOptions } from "./cga.ts";
import { type LsqOptions, lsq } from "./lsq.ts";
import { statsq } from "./statsq.ts";

/** How a linear layer is trained for few bits. */
export interface QuantizedLinearOptions {
  /** Bits of the weight, 2 to 8. */
  readonly bits: number;
  /** The grid of the weight: read off its statistics (default), or with a trained scale a row. */
  readonly weights?: "statsq" | "lsq";
  /** The grid of the inputs; default: they stay floats. */
  readonly activation?: LsqOptions;
  /** Lets only weights near a threshold learn; "statsq" only. */
  readonly annealing?: CgaOptions;
}

/**
 * y = q(x + before) Ŵᵀ + q's offset after + bias: a linear layer on quantized inputs and weights, in a training graph.
 * Parameters by `prefix`: `weight` [out, in], `bias` [out] (where there is one), and with quantized inputs
 * `move_b4.bias`, `move_aft.bias` [in] and `input_quant_fn.s` [scales]; with "lsq" `lsqw_fn.s` [out]. The names are
 * those of the published code.
 *
 * Source: Liu et al. 2023, arXiv:2302.02210.
 */
export function quantizedLinear(
  parameters: Readonly<Record<string, Value>>,
  prefix: string,
  x: Value,
  options: QuantizedLinearOptions,
): Value {
  const { bits, weights = "statsq", activation, annealing } = options;
  const of = (name: string): Value => parameters[`${prefix}.${name}`];
  const input =
    activation === undefined
      ? x
      : add(lsq(add(x, of("move_b4.bias")), of("input_quant_fn.s"), activation), of("move_aft.bias"));
  const weight =
    weights === "lsq"
      ? lsq(of("weight"), of("lsqw_fn.s"), { bits, axis: 0 })
      : statsq(of("weight"), { bits, annealing });
  const product = matMul(input, transpose(weight, [1, 0]));
  const bias = of("bias");
  return bias === undefined ? product : add(product, bias);
}

/** Parameters that quantized inputs add to a layer: offsets of 0, and scales of 1 to be replaced by `lsqScale`'s. */
export function initQuantizedInputs(prefix: string, size: number, scales = 1): Record<string, Tensor> {
  return {
    [`${prefix}.move_b4.bias`]: zeros([size]),
    [`${prefix}.move_aft.bias`]: zeros([size]),
    [`${prefix}.input_quant_fn.s`]: full([scales], 1),
  };
}
