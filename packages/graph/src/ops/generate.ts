import {
  allocate,
  contiguousData,
  type DType,
  elementCount,
  fromData,
  LoomweightError,
  type Tensor,
} from "@loomweight/tensor";
import { int, intOf, tensorAttribute, tensorOf } from "../attributes.ts";
import { divideDims, normalizeAxis, subtractDims, unknownDim } from "../dims.ts";
import { copyCodes, elementsOf, numbersTensor } from "../evaluate/numbers.ts";
import { applyOne, defineOps, integersOf, knownElements, type OpCall, ruleOf } from "../op.ts";
import type { Operand, Value } from "../value.ts";
import { badShape, inputOf, sameDtype } from "./same-dtype.ts";
import { shapeVector, unknownShape } from "./shape.ts";

/** Constants larger than this are left to the runtime. */
const largestGenerated = 2 ** 28;

function checkSize(op: string, count: number): void {
  if (count <= largestGenerated) return;
  throw new LoomweightError({
    code: "TOO_LARGE",
    problem: `${op} would make ${count} elements`,
    expected: `at most ${largestGenerated}`,
  });
}

/** Ops that make tensors from few numbers. */
export const generateOps = /* @__PURE__ */ defineOps({
  Constant: {
    inputs: [0, 0],
    infer(call) {
      const value = constantOf(call);
      return [{ dtype: value.dtype, shape: value.shape, tensor: value }];
    },
    evaluate: (call) => [constantOf(call)],
    samples: [],
  },
  ConstantOfShape: {
    inputs: [1, 1],
    infer(call) {
      const target = inputOf(call, 0);
      const dims = knownElements(target);
      const dtype = tensorOf(call, "value")?.dtype ?? "float32";
      const rank = target.shape[0];
      if (dims === undefined && typeof rank !== "number")
        throw new LoomweightError({
          code: "SHAPE_MISMATCH",
          problem: "ConstantOfShape: the rank is not known",
          node: call.name,
        });
      return [{ dtype, shape: dims ?? unknownShape(call, rank as number) }];
    },
    evaluate(call) {
      const { dtype, shape } = call.types[0];
      checkSize(call.op, elementCount(shape));
      const value = tensorOf(call, "value");
      const out = allocate(dtype, elementCount(shape));
      if (value !== undefined) (out as Float32Array).fill((contiguousData(value) as Float32Array)[0]);
      return [fromData<DType>(dtype, out, shape)];
    },
    samples: [{ inputs: [{ shape: [2], dtype: "int64", values: [2, 3] }], constants: [0] }],
  },
  Range: {
    inputs: [3, 3],
    infer(call) {
      const dtype = sameDtype(call);
      const [start, limit, step] = call.inputs.map((each) => knownElements(each)?.[0]);
      if (start === undefined || limit === undefined || step === undefined) {
        const constants = call.inputs.map((each) => each?.tensor && elementsOf(each.tensor)[0]);
        const [from, to, by] = constants;
        if (from === undefined || to === undefined || by === undefined) return [{ dtype, shape: [unknownDim] }];
        return [{ dtype, shape: [rangeLength(call, from, to, by)] }];
      }
      if (typeof start === "number" && typeof limit === "number" && typeof step === "number") {
        return [{ dtype, shape: [rangeLength(call, start, limit, step)] }];
      }
      return [
        { dtype, shape: [step === 1 ? subtractDims(limit, start) : divideDims(subtractDims(limit, start), step)] },
      ];
    },
    evaluate(call) {
      const { dtype, shape } = call.types[0];
      checkSize(call.op, shape[0]);
      const [start, , step] = (call.inputs as Tensor[]).map((each) => elementsOf(each)[0]);
      return [
        numbersTensor(
          Array.from({ length: shape[0] }, (_, i) => start + i * step),
          shape,
          dtype,
          call.op,
        ),
      ];
    },
    samples: [
      {
        inputs: [
          { shape: [], dtype: "int64", values: [2] },
          { shape: [], dtype: "int64", values: [11] },
          { shape: [], dtype: "int64", values: [3] },
        ],
        constants: [0, 1, 2],
      },
      {
        inputs: [
          { shape: [], values: [1] },
          { shape: [], values: [0] },
          { shape: [], values: [-0.25] },
        ],
        constants: [0, 1, 2],
      },
    ],
  },
  Trilu: {
    inputs: [1, 2],
    infer: (call) => [{ dtype: inputOf(call, 0).dtype, shape: inputOf(call, 0).shape }],
    evaluate(call) {
      const x = call.inputs[0] as Tensor;
      const k = call.inputs[1] === undefined ? 0 : integersOf(call.inputs[1])[0];
      const upper = intOf(call, "upper", 1) === 1;
      const [rows, columns] = x.shape.slice(-2);
      const data = contiguousData(x);
      const out = allocate(x.dtype, elementCount(x.shape));
      for (let row = 0; row < elementCount(x.shape) / Math.max(1, columns); row++) {
        const diagonal = (row % rows) + k;
        const from = upper ? Math.min(columns, Math.max(0, diagonal)) : 0;
        const to = upper ? columns : Math.min(columns, Math.max(0, diagonal + 1));
        copyCodes(out, row * columns + from, data, row * columns + from, to - from);
      }
      return [fromData<DType>(x.dtype, out, x.shape)];
    },
    samples: [
      { inputs: [[2, 3, 4]] },
      { inputs: [[3, 4], { shape: [], dtype: "int64", values: [1] }], attributes: { upper: int(0) } },
    ],
  },
  OneHot: {
    inputs: [3, 3],
    infer(call) {
      const indices = inputOf(call, 0);
      const given = inputOf(call, 1).tensor;
      const depth = given === undefined ? unknownDim : Math.trunc(elementsOf(given)[0]);
      const rank = indices.shape.length + 1;
      const axis = normalizeAxis(intOf(call, "axis", -1), rank, call.op);
      return [
        {
          dtype: inputOf(call, 2).dtype,
          shape: [...indices.shape.slice(0, axis), depth, ...indices.shape.slice(axis)],
        },
      ];
    },
    evaluate(call) {
      const [indices, depths, values] = call.inputs as [Tensor, Tensor, Tensor];
      const { dtype, shape } = call.types[0];
      const depth = integersOf(depths)[0];
      checkSize(call.op, elementCount(shape));
      const axis = normalizeAxis(intOf(call, "axis", -1), shape.length, call.op);
      const inner = elementCount(shape.slice(axis + 1));
      const out = allocate(dtype, elementCount(shape)) as Float32Array;
      const [off, on] = contiguousData(values) as Float32Array;
      out.fill(off);
      for (const [i, index] of integersOf(indices).entries()) {
        const at = index < 0 ? index + depth : index;
        if (at < 0 || at >= depth) continue;
        out[(Math.floor(i / inner) * depth + at) * inner + (i % inner)] = on;
      }
      return [fromData<DType>(dtype, out, shape)];
    },
    samples: [
      {
        inputs: [
          { shape: [2, 2], dtype: "int64", values: [0, 2, -1, 1] },
          { shape: [], dtype: "int64", values: [3] },
          { shape: [2], values: [0, 1] },
        ],
      },
    ],
  },
});

function rangeLength(call: OpCall, start: number, limit: number, step: number): number {
  const length = Math.max(0, Math.ceil((limit - start) / step));
  if (step !== 0 && Number.isSafeInteger(length)) return length;
  throw badShape(call, `from ${start} to ${limit} in steps of ${step} never ends`);
}

function constantOf(call: {
  op: string;
  name?: string;
  attributes: Parameters<typeof tensorOf>[0]["attributes"];
}): Tensor {
  const { attributes } = call;
  const value = tensorOf(call, "value");
  if (value !== undefined) return value;
  for (const [name, entry] of Object.entries(attributes)) {
    if (name === "value_int" && entry.type === "int")
      return fromData("int64", BigInt64Array.of(BigInt(entry.value)), []);
    if (name === "value_ints" && entry.type === "ints") {
      return fromData("int64", BigInt64Array.from(entry.value, BigInt), [entry.value.length]);
    }
    if (name === "value_float" && entry.type === "float") return fromData("float32", Float32Array.of(entry.value), []);
    if (name === "value_floats" && entry.type === "floats") {
      return fromData("float32", Float32Array.from(entry.value), [entry.value.length]);
    }
    if (name === "value_string" && entry.type === "string") return fromData("string", [entry.value], []);
    if (name === "value_strings" && entry.type === "strings")
      return fromData("string", [...entry.value], [entry.value.length]);
  }
  throw new LoomweightError({
    code: "INVALID_ATTRIBUTE",
    problem: "Constant has no value that can be read",
    node: call.name,
    found: Object.keys(attributes).join(", ") || "no attribute",
  });
}

/** start, start + step, … below `limit`: one axis, dtype of the operands (int64 where all are numbers). */
export function range(start: Operand, limit: Operand, step: Operand = 1): Value {
  const given = [start, limit, step];
  const dtype = given.find((each): each is Value => typeof each === "object")?.dtype ?? "int64";
  return applyOne(
    ruleOf(generateOps, "Range"),
    given.map((each) => (typeof each === "number" ? numbersTensor([each], [], dtype, "Range") : each)),
  );
}

/** A shape filled with one number; default 0 of float32. */
export function constantOfShape(
  dims: Value | readonly (number | Value)[],
  value: number | Tensor = 0,
  dtype: DType = "float32",
): Value {
  const fill = typeof value === "number" ? numbersTensor([value], [1], dtype, "ConstantOfShape") : value;
  return applyOne(ruleOf(generateOps, "ConstantOfShape"), [shapeVector(dims)], { value: tensorAttribute(fill) });
}

/** The upper (default) or lower triangle of the last two axes, from diagonal `k` on; zero elsewhere. */
export function trilu(x: Value, { upper = true, k }: { upper?: boolean; k?: number | Value } = {}): Value {
  const diagonal = typeof k === "number" ? numbersTensor([k], [], "int64", "Trilu") : k;
  return applyOne(ruleOf(generateOps, "Trilu"), [x, diagonal], { upper: int(upper) });
}

/** Index → vector of length `depth` with `on` at the index and `off` elsewhere. No WebGPU kernel. */
export function oneHot(
  indices: Value,
  depth: number,
  { on = 1, off = 0, dtype = "float32", axis = -1 }: { on?: number; off?: number; dtype?: DType; axis?: number } = {},
): Value {
  const values = numbersTensor([off, on], [2], dtype, "OneHot");
  const operands = [indices, numbersTensor([depth], [], "int64", "OneHot"), values];
  return applyOne(ruleOf(generateOps, "OneHot"), operands, { axis: int(axis) });
}
