import type { DType } from "@loomweight/tensor";
import { decodeOtherType } from "./codec/other-type.ts";
import { type InferContext, inferGraph, isStandard, type TypeScope, typeIn } from "./infer.ts";
import type { OnnxGraph, OnnxNode, ValueInfo } from "./model.ts";
import { dtypeOfOnnx, isOnnxDtype } from "./onnx-dtype.ts";
import type { ValueType } from "./op.ts";
import type { Dim } from "./value.ts";

/** A value that is no tensor of a dtype of this project: a sequence, an optional value, or a tensor of another dtype. */
export type OtherType =
  /** ONNX's number of a dtype that this project has not (float8 "fnuz", 2-bit integers, complex128). */
  | { readonly kind: "tensor"; readonly elementType: number; readonly shape: readonly Dim[] }
  | { readonly kind: "sequence" | "optional"; readonly element: AnyType | OpenTensor | undefined };

/** A tensor of which the rank is not known. */
export interface OpenTensor {
  readonly dtype: DType;
  readonly shape: undefined;
}

export type AnyType = ValueType | OtherType;
type Element = AnyType | OpenTensor | undefined;

export const isOther = (type: Element): type is OtherType => type !== undefined && "kind" in type;
const isPlain = (type: Element): type is ValueType =>
  type !== undefined && !("kind" in type) && type.shape !== undefined;

export function otherIn(scope: TypeScope | undefined, name: string): OtherType | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    const found = at.others.get(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Type of a value of the file that its dtype and shape do not tell. */
export function declaredOther(info: ValueInfo): OtherType | undefined {
  return info.type === undefined ? undefined : decodeOtherType(info.type, "type");
}

type Rule = (call: OtherCall) => readonly Element[] | undefined;

interface OtherCall {
  readonly node: OnnxNode;
  readonly inputs: readonly (AnyType | undefined)[];
  readonly context: InferContext;
  readonly scope: TypeScope;
}

/** Types of the outputs of a node that deals with other values than tensors; undefined where it does not. */
export function otherTypes(node: OnnxNode, context: InferContext, scope: TypeScope): readonly Element[] | undefined {
  if (!isStandard(node.domain) || !Object.hasOwn(rules, node.op)) return undefined;
  const inputs = node.inputs.map((name) => (name === "" ? undefined : (typeIn(scope, name) ?? otherIn(scope, name))));
  return rules[node.op]({ node, inputs, context, scope });
}

const scalar: ValueType = { dtype: "int64", shape: [] };
const flag: ValueType = { dtype: "bool", shape: [] };

const rules: Readonly<Record<string, Rule>> = {
  Identity: ({ inputs }) => [inputs[0]],
  Cast: ({ node, inputs }) => [withElements(inputs[0], numberOf(node, "to"))],
  CastLike: ({ inputs }) => [withElements(inputs[0], elementTypeOf(inputs[1]))],
  QuantizeLinear({ node, inputs }) {
    const given = numberOf(node, "output_dtype");
    return [withElements(inputs[0], elementTypeOf(inputs[2]) ?? (given === 0 ? undefined : given))];
  },
  DequantizeLinear: ({ inputs }) => [withElements(inputs[0], elementTypeOf(inputs[1]))],
  SequenceEmpty({ node }) {
    const id = numberOf(node, "dtype") ?? 1;
    return [{ kind: "sequence", element: isOnnxDtype(id) ? { dtype: dtypeOfOnnx(id), shape: undefined } : undefined }];
  },
  SequenceConstruct: ({ inputs }) => [{ kind: "sequence", element: inputs.map(plainest).reduce(both) }],
  SequenceInsert: ({ inputs: [sequence, element] }) =>
    isOther(sequence) && sequence.kind === "sequence"
      ? [{ kind: "sequence", element: both(sequence.element, plainest(element)) }]
      : undefined,
  SequenceErase: ({ inputs }) => [inputs[0]],
  SequenceAt: ({ inputs }) => [elementOf(inputs[0])],
  SequenceLength: () => [scalar],
  SplitToSequence({ node, inputs }) {
    const [x] = inputs;
    if (!isPlain(x)) return undefined;
    const given = numberOf(node, "axis") ?? 0;
    const axis = given < 0 ? given + x.shape.length : given;
    const single = (node.inputs[1] ?? "") === "";
    const drops = single && numberOf(node, "keepdims") === 0;
    const shape = drops
      ? x.shape.filter((_, at) => at !== axis)
      : x.shape.map((dim, at): Dim => (at === axis ? (single ? 1 : "?") : dim));
    return [{ kind: "sequence", element: { dtype: x.dtype, shape } }];
  },
  ConcatFromSequence({ node, inputs }) {
    const element = elementOf(inputs[0]);
    if (!isPlain(element)) return undefined;
    const fresh = numberOf(node, "new_axis") === 1;
    const given = numberOf(node, "axis") ?? 0;
    const rank = element.shape.length + (fresh ? 1 : 0);
    const axis = given < 0 ? given + rank : given;
    const shape: Dim[] = fresh ? element.shape.toSpliced(axis, 0, "?") : element.shape.with(axis, "?");
    return [{ dtype: element.dtype, shape }];
  },
  Optional({ node, inputs }) {
    const [value] = inputs;
    if (value !== undefined) return [{ kind: "optional", element: plainest(value) }];
    const type = Object.hasOwn(node.attributes, "type") ? node.attributes.type : undefined;
    return type === undefined ? undefined : [{ kind: "optional", element: undefined }];
  },
  OptionalGetElement: ({ inputs: [value] }) =>
    isOther(value) && value.kind === "optional" ? [value.element] : [value],
  OptionalHasElement: () => [flag],
  If: ({ node, context, scope }) => {
    const [yes, no] = ["then_branch", "else_branch"].map((name) => bodyTypes(node, name, context, scope));
    return yes === undefined || no === undefined ? undefined : yes.map((each, index) => both(each, no[index]));
  },
  Loop: ({ node, inputs, context, scope }) => {
    const body = bodyTypes(node, "body", context, scope, [scalar, flag, ...inputs.slice(2).map(widest)]);
    if (body === undefined) return undefined;
    // What is carried and no tensor keeps its kind; tensors are told by the rule of Loop.
    return inputs.slice(2).map((each, index) => (isOther(each) ? both(widest(each), body[1 + index]) : undefined));
  },
  SequenceMap: ({ node, inputs, context, scope }) => {
    const given = inputs.map((each, index) => (index === 0 || isOther(each) ? elementOf(each) : each));
    const body = bodyTypes(node, "body", context, scope, given);
    return body?.map((element): OtherType => ({ kind: "sequence", element }));
  },
};

/** Sequences grow while a loop runs: nothing is known of their elements beyond their dtype. */
function widest(type: AnyType | undefined): AnyType | undefined {
  if (!isOther(type) || type.kind !== "sequence") return type;
  const element = type.element;
  return { kind: "sequence", element: isPlain(element) ? { dtype: element.dtype, shape: undefined } : element };
}

function bodyTypes(
  node: OnnxNode,
  name: string,
  context: InferContext,
  scope: TypeScope,
  given?: readonly Element[],
): Element[] | undefined {
  const body = Object.hasOwn(node.attributes, name) ? node.attributes[name] : undefined;
  if (body?.type !== "graph") return undefined;
  const graph: OnnxGraph = body.value;
  const known = given?.map((each) => (isPlain(each) || isOther(each) ? each : undefined));
  const inner = inferGraph(graph, context, scope, known);
  return graph.outputs.map((info) => {
    const type = typeIn(inner, info.name) ?? otherIn(inner, info.name) ?? declaredOther(info);
    return plainest(type);
  });
}

/** Without the constants: what runs may differ from what was written. */
function plainest(type: AnyType | undefined): Element {
  return isPlain(type) ? { dtype: type.dtype, shape: type.shape } : type;
}

/** What holds for two elements of one sequence, or for the results of two branches. */
function both(a: Element, b: Element): Element {
  if (a === undefined || b === undefined) return undefined;
  if (isOther(a) || isOther(b)) {
    if (!isOther(a) || !isOther(b) || a.kind !== b.kind) return undefined;
    if (a.kind === "tensor" || b.kind === "tensor") {
      const same = a.kind === "tensor" && b.kind === "tensor" && a.elementType === b.elementType;
      return same && `${a.shape}` === `${b.shape}` ? a : undefined;
    }
    // An empty sequence says nothing about its elements that the other one does not say better.
    return { kind: a.kind, element: both(a.element, b.element) };
  }
  if (a.dtype !== b.dtype) return undefined;
  const other = b.shape;
  if (a.shape === undefined || other === undefined || a.shape.length !== other.length) {
    return { dtype: a.dtype, shape: undefined };
  }
  return { dtype: a.dtype, shape: a.shape.map((dim, axis): Dim => (dim === other[axis] ? dim : "?")) };
}

function elementOf(type: Element): Element {
  return isOther(type) && type.kind === "sequence" ? type.element : undefined;
}

function numberOf(node: OnnxNode, name: string): number | undefined {
  const found = Object.hasOwn(node.attributes, name) ? node.attributes[name] : undefined;
  return found?.type === "int" ? Number(found.value) : undefined;
}

/** ONNX's number of a dtype, or this project's name for it. */
function elementTypeOf(type: AnyType | undefined): DType | number | undefined {
  if (isPlain(type)) return type.dtype;
  return isOther(type) && type.kind === "tensor" ? type.elementType : undefined;
}

/** The tensor with other elements. */
function withElements(type: AnyType | undefined, element: DType | number | undefined): AnyType | undefined {
  const shape = isPlain(type) ? type.shape : isOther(type) && type.kind === "tensor" ? type.shape : undefined;
  if (shape === undefined || element === undefined) return undefined;
  if (typeof element === "string") return { dtype: element, shape };
  return isOnnxDtype(element)
    ? { dtype: dtypeOfOnnx(element), shape }
    : { kind: "tensor", elementType: element, shape };
}
