import { type DType, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import type { OnnxNode } from "../../model.ts";
import { scalarOf, type ValueType } from "../../op.ts";
import type { Attributes, AttributeValue } from "../../value.ts";

/** One node of an old opset, and what its converter may ask for. */
export interface ConvertCall {
  readonly node: OnnxNode;
  /** Version of the standard domain that the node was written for. */
  readonly opset: number;
  /** Type of a value, where it can be told. */
  typeOf(name: string): ValueType | undefined;
  /** Adds a constant to the graph: its name. */
  constant(tensor: Tensor): string;
  /** A name that nothing in the model has yet. */
  fresh(name: string): string;
  /** Whether anything uses this output of the node. */
  uses(output: number): boolean;
}

/** The nodes of opset 21 in place of one written before opset `before`; throws `UNSUPPORTED_OP` for what has no equal. */
export interface Converter {
  readonly before: number;
  convert(call: ConvertCall): OnnxNode | readonly OnnxNode[];
}

export type Converters = Readonly<Record<string, Converter>>;

/** Throws for a form of an op that opset 21 has no words for. */
export function unsupported({ node, opset }: ConvertCall, problem: string, fix?: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_OP",
    problem: `${node.op} of opset ${opset} ${problem}`,
    node: node.name || node.outputs.find((name) => name !== ""),
    fix,
  });
}

/** An attribute by name; undefined where there is none. */
export function attribute(node: OnnxNode, name: string): AttributeValue | undefined {
  return Object.hasOwn(node.attributes, name) ? node.attributes[name] : undefined;
}

/** Attributes without some. */
export function without(attributes: Attributes, ...names: readonly string[]): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([name]) => !names.includes(name)));
}

/** Inputs with one put at `index`, and nothing where there was none before it. */
export function withInput(inputs: readonly string[], index: number, name: string): string[] {
  const out = [...inputs];
  while (out.length < index) out.push("");
  out[index] = name;
  return out;
}

/** A scalar constant of a dtype that floats are rounded to. */
export function scalarConstant(call: ConvertCall, value: number, dtype: DType): string {
  return call.constant(scalarOf(value, dtype, call.node.op));
}

export function integers(call: ConvertCall, values: readonly (number | bigint)[]): string {
  return call.constant(fromData<DType>("int64", BigInt64Array.from(values, BigInt), [values.length]));
}
