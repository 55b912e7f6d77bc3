import { type DType, isFloat, LoomweightError } from "@loomweight/tensor";
import type { OpCall, ValueType } from "../op.ts";

/** The input at `index`; rules use it for inputs that the number of inputs already guarantees. */
export function inputOf(call: OpCall, index: number): ValueType {
  const input = call.inputs[index];
  if (input === undefined) {
    throw new LoomweightError({
      code: "INVALID_NODE",
      problem: `${call.op}: input ${index} is missing`,
      node: call.name,
    });
  }
  return input;
}

/** The one dtype of the inputs at `indices` (default all); throws `DTYPE_MISMATCH` when they differ. */
export function sameDtype(call: OpCall, indices: readonly number[] = call.inputs.map((_, index) => index)): DType {
  const inputs = indices.map((index) => call.inputs[index]).filter((input) => input !== undefined);
  const first = inputs[0].dtype;
  const other = inputs.find((input) => input.dtype !== first);
  if (other !== undefined) throw dtypeMismatch(call, first, other.dtype);
  return first;
}

export function dtypeMismatch(call: OpCall, expected: string, found: DType): LoomweightError {
  return new LoomweightError({
    code: "DTYPE_MISMATCH",
    problem: `${call.op}: operands of these dtypes do not go together`,
    node: call.name,
    expected,
    found,
    fix: "Cast one of them: `cast(value, dtype)`.",
  });
}

/** Throws `DTYPE_MISMATCH` unless the input is of one of `allowed`. */
export function requireDtype(call: OpCall, index: number, allowed: readonly DType[]): DType {
  const { dtype } = inputOf(call, index);
  if (!allowed.includes(dtype)) throw dtypeMismatch(call, allowed.join(" or "), dtype);
  return dtype;
}

export function requireFloat(call: OpCall, index: number): DType {
  const { dtype } = inputOf(call, index);
  if (!isFloat(dtype)) throw dtypeMismatch(call, "a floating-point dtype", dtype);
  return dtype;
}

/** Throws `SHAPE_MISMATCH` naming op and node. */
export function badShape(call: { op: string; name?: string }, problem: string, fix?: string): LoomweightError {
  return new LoomweightError({ code: "SHAPE_MISMATCH", problem: `${call.op}: ${problem}`, node: call.name, fix });
}
