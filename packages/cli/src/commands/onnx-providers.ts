import { type OnnxGraph, type Provider, providersOf, subgraphsOf } from "@loomweight/graph";
import type { DType } from "@loomweight/tensor";

/** What execution providers can do with a graph's operators. */
export interface OnnxProviders {
  /** Provider → operators that it has no kernel for, in any dtype: onnxruntime gives those to the CPU. */
  readonly missing: Readonly<Record<Provider, readonly string[]>>;
  /** Operators that nobody has measured. */
  readonly unknown: readonly string[];
}

const dtypes: readonly DType[] = ["float32", "float16", "int64", "int32", "uint8", "int8", "bool"];
const providers: readonly Provider[] = ["cpu", "wasm", "webgpu"];

/** Operators of a graph and of the bodies of its nodes, most frequent first: "MatMul", "com.microsoft.MatMulNBits". */
export function countOperators(graph: OnnxGraph): Record<string, number> {
  const counts = new Map<string, number>();
  const visit = ({ nodes }: OnnxGraph) => {
    for (const node of nodes) {
      const standard = node.domain === "" || node.domain === "ai.onnx";
      const name = standard ? node.op : `${node.domain}.${node.op}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      for (const body of subgraphsOf(node)) visit(body);
    }
  };
  visit(graph);
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)));
}

/** What the table of measured kernels says of operators by these names. */
export function providersFor(operators: readonly string[]): OnnxProviders {
  const missing: Record<Provider, string[]> = { cpu: [], wasm: [], webgpu: [] };
  const unknown: string[] = [];
  for (const name of operators) {
    if (name === "Constant") continue; // no kernel runs it: it becomes a weight
    const dot = name.lastIndexOf(".");
    const [domain, op] = [name.slice(0, Math.max(0, dot)), name.slice(dot + 1)];
    const known = dtypes.map((dtype) => providersOf(op, { domain, dtype, partly: true }));
    if (known[0] === undefined) {
      unknown.push(name);
      continue;
    }
    for (const provider of providers) {
      if (!known.some((each) => each?.includes(provider))) missing[provider].push(name);
    }
  }
  return { missing, unknown };
}

/** "cpu, wasm; webgpu without Loop (left to the CPU); not measured: Foo". */
export function providersLine({ missing, unknown }: OnnxProviders): string {
  const whole = providers.filter((provider) => missing[provider].length === 0);
  const partly = providers.filter((provider) => missing[provider].length > 0);
  return [
    ...(whole.length > 0 ? [whole.join(", ")] : []),
    ...partly.map((provider) => `${provider} without ${missing[provider].join(", ")}`),
    ...(unknown.length > 0 ? [`not measured: ${unknown.join(", ")}`] : []),
  ].join("; ");
}
