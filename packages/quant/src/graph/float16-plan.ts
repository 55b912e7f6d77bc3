import type { AttributeValue, OnnxGraph, OnnxModel, OnnxNode } from "@loomweight/graph";
import { type DType, LoomweightError } from "@loomweight/tensor";
import { bodies } from "./edit.ts";
import { alwaysFloat32Inputs } from "./float16-lists.ts";

/** ONNX numbers of the two dtypes. */
export const onnxFloat = 1;
export const onnxFloat16 = 10;

/** What stays float32, found before anything is changed. */
export interface Float16Plan {
  /** dtype of a value as the model has it now; undefined where the model does not say. */
  dtype(value: string): DType | undefined;
  isBlocked(node: OnnxNode): boolean;
  /** Whether input `position` of the node is read as float32. */
  readsFloat(node: OnnxNode, position: number): boolean;
  /** float32 values that stay as they are: everything that reads them wants float32, or casts them itself. */
  readonly kept: ReadonlySet<string>;
}

/** Looks through the model. Throws `INVALID_OPTION` when a node with bodies is to stay float32. */
export function planFloat16(
  model: OnnxModel,
  blockOps: ReadonlySet<string>,
  blockNodes: ReadonlySet<string>,
  keptIo: ReadonlySet<string>,
): Float16Plan {
  const isBlocked = (node: OnnxNode): boolean =>
    blockOps.has(node.op) || (node.name !== "" && blockNodes.has(node.name));
  const readsFloat = (node: OnnxNode, position: number): boolean =>
    isBlocked(node) || (Object.hasOwn(alwaysFloat32Inputs, node.op) && alwaysFloat32Inputs[node.op].includes(position));
  const dtypes = new Map<string, DType>();
  const producers = new Map<string, OnnxNode>();
  const readers = new Map<string, { node: OnnxNode; position: number }[]>();
  const outputs = new Set<string>();
  const initializers = new Set<string>();
  const visit = (graph: OnnxGraph): void => {
    for (const { name, dtype } of [...graph.valueInfo.values(), ...graph.inputs, ...graph.outputs]) {
      if (dtype !== undefined) dtypes.set(name, dtype);
    }
    for (const { name, dtype } of graph.initializers.values()) {
      dtypes.set(name, dtype);
      initializers.add(name);
    }
    for (const { name } of graph.outputs) outputs.add(name);
    for (const node of graph.nodes) {
      for (const output of node.outputs) producers.set(output, node);
      node.inputs.forEach((name, position) => {
        const list = readers.get(name) ?? [];
        list.push({ node, position });
        readers.set(name, list);
      });
      const inner = bodies(node);
      if (inner.length > 0 && isBlocked(node)) throw blockedBodies(node);
      inner.forEach(visit);
    }
  };
  visit(model.graph);

  const castsTo = (node: OnnxNode | undefined, code: number): boolean =>
    node?.op === "Cast" && node.domain === "" && intValue(node.attributes.to) === code;
  const fromHalf = (node: OnnxNode | undefined): boolean =>
    castsTo(node, onnxFloat) && dtypes.get(node?.inputs[0] ?? "") === "float16";
  const inputs = new Set(model.graph.inputs.map(({ name }) => name));
  const kept = new Set<string>();
  for (const [value, dtype] of dtypes) {
    if (dtype !== "float32") continue;
    const read = readers.get(value) ?? [];
    const producer = producers.get(value);
    const byFloatReaders = read.every(({ node, position }) => readsFloat(node, position));
    const byCasts = read.every(({ node, position }) => readsFloat(node, position) || castsTo(node, onnxFloat16));
    if (initializers.has(value)) {
      if (read.length > 0 && byFloatReaders && !outputs.has(value)) kept.add(value);
    } else if (outputs.has(value)) {
      if (keptIo.has(value) && fromHalf(producer) && byFloatReaders) kept.add(value);
    } else if (read.length > 0 && inputs.has(value)) {
      if (keptIo.has(value) && byCasts) kept.add(value);
    } else if (read.length > 0 && producer !== undefined) {
      if (isBlocked(producer) ? byCasts : fromHalf(producer) && byFloatReaders) kept.add(value);
    }
  }
  return { dtype: (value) => dtypes.get(value), isBlocked, readsFloat, kept };
}

/** The number of an int attribute. */
export function intValue(attribute: AttributeValue | undefined): number | undefined {
  return attribute?.type === "int" ? Number(attribute.value) : undefined;
}

function blockedBodies(node: OnnxNode): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "a node with graphs inside cannot be kept in float32 as a whole",
    option: "convertToFloat16.blockNodes",
    node: node.name,
    found: node.op,
    fix: "Name the nodes inside it.",
  });
}
