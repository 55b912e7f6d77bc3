import { type DType, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { floatOf } from "../attributes.ts";
import { type BigStorage, bigElementsOf, elementsOf, isBig, tensorOf } from "../evaluate/numbers.ts";
import type { ConstantCall, OpRule, Sample } from "../op.ts";
import { inputOf, requireFloat } from "./same-dtype.ts";

export function noIntegers(op: string, dtype: DType): LoomweightError {
  return new LoomweightError({ code: "UNSUPPORTED_DTYPE", problem: `${op} does not compute with ${dtype}` });
}

/**
 * A float attribute as the runtime computes with it: rounded to float32, as ONNX files hold it. Calls on float64, which
 * check the others, take it as it was given.
 */
export function attributeNumber(call: ConstantCall, name: string, otherwise: number): number {
  const value = floatOf(call, name, otherwise);
  return call.inputs[0]?.dtype === "float64" ? value : Math.fround(value);
}

interface UnaryFacts {
  readonly f: (x: number, call: ConstantCall) => number;
  readonly big?: (x: bigint) => bigint;
  /** Integers are allowed. */
  readonly integers?: boolean;
  readonly samples?: readonly Sample[];
}

/** Rule of an op y = f(x), element by element, in float64 and rounded once. */
export function unary({ f, big, integers, samples }: UnaryFacts): OpRule {
  return {
    inputs: [1, 1],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      if (!integers) requireFloat(call, 0);
      return [{ dtype, shape }];
    },
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      if (isBig(x.dtype)) {
        if (big === undefined) throw noIntegers(call.op, x.dtype);
        const codes: BigStorage = bigElementsOf(x).slice();
        for (let i = 0; i < codes.length; i++) codes[i] = big(codes[i]);
        return [fromData<DType>(x.dtype, codes, x.shape)];
      }
      const values = elementsOf(x);
      const out = new Float64Array(values.length);
      for (let i = 0; i < values.length; i++) out[i] = f(values[i], call);
      return [tensorOf(out, x.shape, x.dtype)];
    },
    samples: samples ?? [{ inputs: [[2, 5]] }, { inputs: [[]] }],
  };
}

/** Samples for functions that are defined above 0. */
export const positive: readonly Sample[] = [{ inputs: [{ shape: [2, 5], low: 0.1, high: 4 }] }];

/** 1 / (1 + e^−x) without overflow */
export const sigmoidOf = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
