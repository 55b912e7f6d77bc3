import { contiguousData, elementCount, LoomweightError, type Tensor } from "@loomweight/tensor";
import { lazyTensor } from "./inputs.ts";
import type { Initializer, OnnxFunction, OnnxModel, OnnxNode, ValueInfo } from "./model.ts";
import { buildOpset } from "./op.ts";
import { bindBodies, subgraphsOf } from "./rewrite.ts";
import {
  type Attributes,
  type AttributeValue,
  type GraphNode,
  type GraphValue,
  isTensor,
  type Value,
} from "./value.ts";

export interface AssembleOptions {
  /** Name of the graph. */
  readonly name: string;
  /**
   * The graph's inputs, in order. Throws `UNDECLARED_INPUT` when the outputs need one that is not listed. A parameter
   * listed here becomes an input as well, and so does every parameter of its name.
   */
  readonly inputs: readonly GraphValue[];
  /** The graph's outputs by name, in order. */
  readonly outputs: Readonly<Record<string, Value>>;
  /** Default 21. */
  readonly opset?: number;
  /** Versions of other domains, as an imported graph needs them; default 1 for each domain in use. */
  readonly opsets?: Readonly<Record<string, number>>;
  /** Local functions that nodes of an imported graph call. */
  readonly functions?: readonly OnnxFunction[];
  readonly metadata?: Readonly<Record<string, string>>;
  /** Default { name: "loomweight", version: "" }. */
  readonly producer?: { readonly name: string; readonly version: string };
}

/** A node as it will stand in the graph: equal computations are one. */
interface Placed {
  readonly node: GraphNode;
  readonly inputs: readonly Source[];
  readonly captures: readonly (readonly [name: string, source: Source])[];
}

/** What an input slot refers to. */
type Source =
  | { readonly kind: "none" }
  | { readonly kind: "value"; readonly value: GraphValue }
  | { readonly kind: "weight"; readonly name: string };

/**
 * The graph behind `outputs` as an ONNX model (IR 10): nodes in the order they are needed, equal nodes and constants
 * once, names from the scopes they were built in. The same trace gives the same model.
 */
export function assemble(options: AssembleOptions): OnnxModel {
  const opset = options.opset ?? options.opsets?.[""] ?? buildOpset;
  const taken = createNames();
  for (const { kind, name = "" } of options.inputs) {
    if (kind === "node" || taken.has(name)) throw duplicateName(name, kind === "node");
    taken.take(name);
  }
  for (const name of Object.keys(options.outputs)) {
    if (taken.has(name)) throw duplicateName(name, false);
    taken.take(name);
  }
  const weights = new Weights(taken);
  const { placed, canonical } = place(options, weights);
  const { nodes, valueInfo, outputs } = nameAll(options, placed, canonical, weights, taken);
  const domains = new Set(nodes.map((each) => each.domain));
  const opsets: Record<string, number> = { "": opset };
  for (const domain of [...domains].sort()) if (domain !== "") opsets[domain] = options.opsets?.[domain] ?? 1;
  // Bodies and functions may use more domains than the nodes seen here.
  const hidden = options.functions !== undefined || placed.some(({ node }) => node.captures !== undefined);
  for (const domain of Object.keys(hidden ? (options.opsets ?? {}) : {})) {
    if (!Object.hasOwn(opsets, domain)) opsets[domain] = options.opsets?.[domain] ?? 1;
  }
  return {
    irVersion: 10,
    producer: options.producer ?? { name: "loomweight", version: "" },
    opsets,
    graph: {
      name: options.name,
      nodes,
      inputs: options.inputs.map(({ name = "", dtype, shape }) => ({ name, dtype, shape })),
      outputs,
      initializers: weights.initializers,
      valueInfo,
    },
    functions: options.functions ?? [],
    metadata: { ...options.metadata },
  };
}

/** Walks the trace from the outputs, operands first; nodes that compute the same become one. */
function place(
  options: AssembleOptions,
  weights: Weights,
): { placed: Placed[]; canonical: Map<GraphValue, GraphValue> } {
  const declared = new Set(options.inputs);
  const fed = fedParameters(options.inputs);
  const placed: Placed[] = [];
  const canonical = new Map<GraphValue, GraphValue>();
  const known = new Map<string, GraphNode>();
  const numbers = new Map<GraphValue, number>();
  const started = new Set<GraphNode>();
  const finished = new Set<GraphNode>();
  const source = (value: Value | undefined): Source => {
    if (value === undefined) return { kind: "none" };
    if (isTensor(value)) return { kind: "weight", name: weights.constant(value) };
    if (value.kind === "parameter") {
      const asInput = fed.get(value.name ?? "");
      return asInput ? { kind: "value", value: asInput } : { kind: "weight", name: weights.parameter(value) };
    }
    if (value.kind === "input" && !declared.has(value)) throw undeclaredInput(value);
    return { kind: "value", value: canonical.get(value) ?? value };
  };
  const numberOf = (value: GraphValue) => {
    if (!numbers.has(value)) numbers.set(value, numbers.size);
    return numbers.get(value);
  };
  const finish = (node: GraphNode) => {
    const inputs = node.inputs.map(source);
    const captures = Object.entries(node.captures ?? {}).map(([name, value]) => [name, source(value)] as const);
    const key = [
      node.domain,
      node.op,
      attributesKey(node.attributes),
      node.outputs.length,
      ...captures.map(([name]) => name),
      ...[...inputs, ...captures.map(([, each]) => each)].map((each) =>
        each.kind === "none" ? "-" : each.kind === "weight" ? `w${each.name}` : `v${numberOf(each.value)}`,
      ),
    ].join("\u0000");
    const same = known.get(key);
    if (same !== undefined && !node.op.startsWith("Random") && node.op !== "Bernoulli") {
      for (const [index, output] of node.outputs.entries()) canonical.set(output, same.outputs[index]);
      return;
    }
    known.set(key, node);
    placed.push({ node, inputs, captures });
  };
  for (const output of Object.values(options.outputs)) {
    if (isTensor(output) || output.node === undefined) {
      source(output);
      continue;
    }
    const stack: GraphNode[] = [output.node];
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      if (finished.has(node)) {
        stack.pop();
      } else if (started.has(node)) {
        stack.pop();
        finished.add(node);
        finish(node);
      } else {
        started.add(node);
        const operands = operandsOf(node);
        for (let i = operands.length - 1; i >= 0; i--) {
          const value = operands[i];
          if (value !== undefined && !isTensor(value) && value.node !== undefined && !finished.has(value.node)) {
            stack.push(value.node);
          }
        }
      }
    }
  }
  return { placed, canonical };
}

/** Parameters that are inputs of the graph, by name. */
function fedParameters(inputs: readonly GraphValue[]): ReadonlyMap<string, GraphValue> {
  return new Map(inputs.filter((each) => each.kind === "parameter").map((each) => [each.name ?? "", each]));
}

/** All values a node needs: its inputs, and what its bodies take from around it. */
export function operandsOf(node: GraphNode): readonly (Value | undefined)[] {
  return node.captures === undefined ? node.inputs : [...node.inputs, ...Object.values(node.captures)];
}

function nameAll(
  options: AssembleOptions,
  placed: readonly Placed[],
  canonical: ReadonlyMap<GraphValue, GraphValue>,
  weights: Weights,
  taken: Names,
): { nodes: OnnxNode[]; valueInfo: Map<string, ValueInfo>; outputs: ValueInfo[] } {
  const names = new Map<GraphValue, string>();
  for (const each of options.inputs) names.set(each, each.name ?? "");
  const fed = fedParameters(options.inputs);
  const copies: { name: string; value: Value }[] = [];
  for (const [name, value] of Object.entries(options.outputs)) {
    const real = isTensor(value) ? value : (canonical.get(value) ?? value);
    if (!isTensor(real) && real.kind === "node" && !names.has(real)) names.set(real, name);
    else copies.push({ name, value: real });
  }
  const nodeNames = createNames();
  const nodes: OnnxNode[] = [];
  const valueInfo = new Map<string, ValueInfo>();
  for (const { node, inputs } of placed) {
    const name = nodeNames.take(node.name ?? `/${node.op}`);
    const outputs = node.outputs.map((value, index) => {
      const named = names.get(value);
      if (named !== undefined) return named;
      const made = taken.take(value.name ?? `${name}/output_${index}`);
      names.set(value, made);
      valueInfo.set(made, { name: made, dtype: value.dtype, shape: value.shape });
      return made;
    });
    const { op, domain, attributes } = node;
    nodes.push({ op, domain, name, inputs: inputs.map((each) => sourceName(each, names)), outputs, attributes });
  }
  for (const { name, value } of copies) {
    const from = isTensor(value)
      ? weights.constant(value)
      : value.kind === "parameter"
        ? (fed.get(value.name ?? "")?.name ?? weights.parameter(value))
        : (names.get(value) ?? "");
    const node = { op: "Identity", domain: "", inputs: [from], outputs: [name], attributes: {} };
    nodes.push({ ...node, name: nodeNames.take(`/${name}/Identity`) });
  }
  // When all values around the bodies have their names.
  for (const [index, { node, captures }] of placed.entries()) {
    if (subgraphsOf(node).length === 0) continue;
    const bound = new Map(captures.map(([inner, each]) => [inner, sourceName(each, names)]));
    nodes[index] = { ...nodes[index], attributes: bindBodies(node.attributes, bound, taken) };
  }
  const outputs = Object.entries(options.outputs).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  return { nodes, valueInfo, outputs };
}

function sourceName(source: Source, names: ReadonlyMap<GraphValue, string>): string {
  if (source.kind === "none") return "";
  if (source.kind === "weight") return source.name;
  return names.get(source.value) as string; // operands are placed before what uses them
}

/** Names that are taken, and the next number of each that was wanted again. */
export interface Names {
  /** `name`, or with the first number that makes it new; it is taken from then on. */
  take(name: string): string;
  has(name: string): boolean;
}

export function createNames(taken: Iterable<string> = []): Names {
  const used = new Set(taken);
  const next = new Map<string, number>();
  return {
    has: (name) => used.has(name),
    take(name) {
      let result = name;
      let number = next.get(name) ?? 1;
      while (used.has(result)) result = `${name}_${number++}`;
      if (result !== name) next.set(name, number);
      used.add(result);
      return result;
    },
  };
}

/** Initializers: parameters by name, constants by content. */
class Weights {
  readonly initializers = new Map<string, Initializer>();
  private readonly constants = new Map<string, { name: string; tensor: Tensor }[]>();
  private readonly seen = new Map<Tensor | GraphValue, string>();
  private readonly origins = new Map<string, string>();

  constructor(private readonly taken: Names) {}

  constant(tensor: Tensor): string {
    const known = this.seen.get(tensor);
    if (known !== undefined) return known;
    const key = constantKey(tensor);
    const alike = this.constants.get(key) ?? [];
    const same = alike.find((each) => sameCodes(each.tensor, tensor));
    const name = same?.name ?? this.taken.take(constantName(tensor));
    if (same === undefined) {
      this.constants.set(key, [...alike, { name, tensor }]);
      this.initializers.set(name, { name, dtype: tensor.dtype, shape: tensor.shape, data: lazyTensor(tensor) });
    }
    this.seen.set(tensor, name);
    return name;
  }

  parameter(value: GraphValue): string {
    const known = this.seen.get(value);
    if (known !== undefined) return known;
    const { data, name: wanted = "parameter", dtype, shape } = value;
    if (data === undefined)
      throw new LoomweightError({ code: "INVALID_NODE", problem: `parameter "${wanted}" has no data` });
    const origin = data.origin && JSON.stringify([wanted, data.origin, dtype, shape]);
    const shared = origin === undefined ? this.sameData(wanted, value) : this.origins.get(origin);
    const name = shared ?? this.taken.take(wanted);
    if (shared === undefined) {
      if (origin !== undefined) this.origins.set(origin, name);
      this.initializers.set(name, { name, dtype, shape: data.shape, data });
    }
    this.seen.set(value, name);
    return name;
  }

  private sameData(name: string, value: GraphValue): string | undefined {
    return this.initializers.get(name)?.data === value.data ? name : undefined;
  }
}

function constantName({ dtype, shape, ...rest }: Tensor): string {
  const count = elementCount(shape);
  if (shape.length > 1 || count > 8 || dtype === "string") return `/constants/${dtype}/${shape.join("x")}`;
  const values = [
    ...(contiguousData({ dtype, shape, ...rest }) as ArrayLike<number | bigint> & Iterable<number | bigint>),
  ];
  const words = values.map((value) => (Object.is(value, -0) ? "-0" : `${value}`));
  return `/constants/${dtype}/${shape.length === 0 ? words[0] : `[${words}]`}`;
}

function constantKey(tensor: Tensor): string {
  const data = contiguousData(tensor) as ArrayLike<number | bigint | string>;
  let hash = 17;
  const step = Math.max(1, Math.floor(data.length / 64));
  for (let i = 0; i < data.length; i += step) {
    const word = String(data[i]);
    for (let j = 0; j < word.length; j++) hash = (Math.imul(hash, 31) + word.charCodeAt(j)) | 0;
  }
  return `${tensor.dtype} ${tensor.shape} ${hash}`;
}

function sameCodes(a: Tensor, b: Tensor): boolean {
  const x = contiguousData(a) as ArrayLike<number | bigint | string>;
  const y = contiguousData(b) as ArrayLike<number | bigint | string>;
  for (let i = 0; i < x.length; i++) if (!Object.is(x[i], y[i])) return false;
  return true;
}

function attributesKey(attributes: Attributes): string {
  return Object.keys(attributes)
    .sort()
    .map((name) => `${name}=${attributeKey(attributes[name])}`)
    .join(";");
}

function attributeKey({ type, value }: AttributeValue): string {
  if (type === "string" || type === "strings") return `${type}:${JSON.stringify(value)}`;
  if (type === "tensor") return `${type}:${constantKey(value)}:${[...(contiguousData(value) as Iterable<unknown>)]}`;
  if (type === "int" || type === "float") return `${type}:${Object.is(value, -0) ? "-0" : value}`;
  if (type === "ints" || type === "floats" || type === "raw") return `${type}:${[...value]}`;
  return JSON.stringify([type, value], (_, part) =>
    part instanceof Map ? [...part] : typeof part === "bigint" ? `${part}n` : part,
  );
}

function duplicateName(name: string, wrongKind: boolean): LoomweightError {
  return new LoomweightError({
    code: "DUPLICATE_NAME",
    problem: wrongKind ? `"${name}" is listed as an input but is none` : `"${name}" names two inputs or outputs`,
    fix: wrongKind ? "List values made by `input`." : "Give every input and output a name of its own.",
  });
}

function undeclaredInput({ name }: GraphValue): LoomweightError {
  return new LoomweightError({
    code: "UNDECLARED_INPUT",
    problem: `the outputs need the input "${name}", which is not listed`,
    fix: "Add it to `inputs` of assemble.",
  });
}

/** The inputs that values depend on, in the order they are met. */
export function inputsOf(values: readonly Value[]): GraphValue[] {
  const inputs = new Set<GraphValue>();
  const seen = new Set<GraphNode>();
  const stack = [...values].reverse();
  for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
    if (isTensor(value)) continue;
    if (value.kind === "input") inputs.add(value);
    if (value.node === undefined || seen.has(value.node)) continue;
    seen.add(value.node);
    for (const operand of [...operandsOf(value.node)].reverse()) if (operand !== undefined) stack.push(operand);
  }
  return [...inputs];
}
