import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { type Initializer, int, ints, type OnnxModel, type OnnxNode, type ValueInfo } from "@loomweight/graph";
import type { DType } from "@loomweight/tensor";

/** A graph whose weights stay in the checkpoint's own files. */
export interface InPlaceModel {
  readonly model: OnnxModel;
  /** Where the data of initializers lies, by name: all others are written into the model file. */
  readonly existing: ReadonlyMap<string, { readonly file: string; readonly offset: number }>;
}

/** Smaller weights are cast and written into the model file: a node each would cost more. */
const fewestElements = 4096;

/** ONNX numbers of the dtypes that weights are stored in. */
const onnxTypes: Readonly<Partial<Record<DType, number>>> = { float32: 1, float16: 10, bfloat16: 16 };

/**
 * Replaces each weight that is a tensor of `checkpoint`, transposed or cast at most, by the stored tensor W [out, in] as
 * it lies in its file, and by what makes the graph's weight of it: Wᵀ = Transpose(Cast(W)). onnxruntime computes these
 * once, when a session is made.
 */
export function keepInPlace(model: OnnxModel, checkpoint: Checkpoint): InPlaceModel {
  const { graph } = model;
  const existing = new Map<string, { file: string; offset: number }>();
  const initializers = new Map<string, Initializer>();
  const nodes: OnnxNode[] = [];
  const values: ValueInfo[] = [];
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  for (const [name, each] of graph.initializers) {
    const source = outputs.has(name) ? undefined : storedSource(each, checkpoint);
    if (source === undefined) {
      initializers.set(name, each);
      continue;
    }
    const { info, transposed } = source;
    const place = { file: info.file, offset: info.byteOffset };
    const cast = info.dtype !== each.dtype;
    if (!cast && !transposed) {
      initializers.set(name, each);
      existing.set(name, place);
      continue;
    }
    const stored = freshName(`${info.name}_stored`, graph.initializers);
    if (!initializers.has(stored)) {
      const data = { dtype: info.dtype, shape: info.shape, read: () => checkpoint.read(info.name) };
      initializers.set(stored, { name: stored, dtype: info.dtype, shape: info.shape, data });
      existing.set(stored, place);
    }
    const between = transposed && cast ? `${name}_cast` : name;
    if (cast) {
      const attributes = { to: int(onnxTypes[each.dtype] as number) };
      nodes.push({ op: "Cast", domain: "", name: `${name}/Cast`, inputs: [stored], outputs: [between], attributes });
    }
    if (transposed) {
      const inputs = [cast ? between : stored];
      const attributes = { perm: ints([1, 0]) };
      nodes.push({ op: "Transpose", domain: "", name: `${name}/Transpose`, inputs, outputs: [name], attributes });
    }
    values.push({ name, dtype: each.dtype, shape: each.shape });
  }
  const valueInfo = new Map([...graph.valueInfo, ...values.map((info) => [info.name, info] as const)]);
  return {
    model: { ...model, graph: { ...graph, initializers, nodes: [...nodes, ...graph.nodes], valueInfo } },
    existing,
  };
}

function freshName(wanted: string, taken: ReadonlyMap<string, unknown>): string {
  let name = wanted;
  for (let i = 1; taken.has(name); i++) name = `${wanted}_${i}`;
  return name;
}

/** The tensor that an initializer is, as it is stored. */
function storedSource(
  { data, dtype, shape }: Initializer,
  checkpoint: Checkpoint,
): { info: TensorInfo; transposed: boolean } | undefined {
  const { tensors, transform } = data.origin ?? { tensors: [] };
  const info = tensors.length === 1 ? checkpoint.tensors.get(tensors[0]) : undefined;
  if (info === undefined || shape.reduce((a, b) => a * b, 1) < fewestElements) return undefined;
  if (onnxTypes[info.dtype] === undefined || onnxTypes[dtype] === undefined) return undefined;
  const steps = (transform ?? "").split(", ").filter((step) => step !== "");
  const known = steps.every((step) => step === "transpose" || step === `cast ${dtype}`);
  if (!known || info.shape.length !== shape.length) return undefined;
  return { info, transposed: steps.includes("transpose") };
}
