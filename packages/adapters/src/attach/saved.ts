import type { ImportedModel } from "@loomweight/graph";
import { isFloat, shapeMismatch, type Tensor, unknownName } from "@loomweight/tensor";
import type { Targets } from "../peft/targets.ts";
import type { AttachedModule, SavedTensor } from "./attach.ts";
import type { BlockAdapterSpec } from "./blocks.ts";
import type { LayerSite } from "./layers.ts";
import type { PreparedAdapter } from "./spec.ts";

/** Whole tensors of the model that are trained: those of `modules_to_save`, and biases. */
export function savedTensors(
  imported: ImportedModel,
  targets: Pick<Targets, "isSaved" | "bias">,
  modules: ReadonlyMap<string, AttachedModule>,
  sites: readonly LayerSite[],
): Omit<SavedTensor, "name" | "adapter">[] {
  const found: Omit<SavedTensor, "name" | "adapter">[] = [];
  const layerOf = new Map(sites.map((site) => [site.stored, site]));
  const biasOf = new Map(sites.flatMap((site) => (site.bias === undefined ? [] : [[site.bias, site] as const])));
  for (const [name, { dtype, data }] of imported.model.graph.initializers) {
    if (!isFloat(dtype)) continue;
    const path = data.origin?.tensors[0] ?? layerPath(name, layerOf.get(name), biasOf.get(name));
    const module = path.slice(0, Math.max(0, path.lastIndexOf(".")));
    const isBias = path.endsWith(".bias");
    const wanted =
      targets.isSaved(module) ||
      (isBias && (targets.bias === "all" || (targets.bias === "adapted" && modules.has(module))));
    if (!wanted) continue;
    const site = layerOf.get(name);
    const transposed =
      data.origin?.transform?.includes("transpose") === true ||
      (data.origin === undefined && site?.form === "MatMul" && site.layer.kind === "linear" && site.weight === name);
    found.push({ path, initializer: name, transposed });
  }
  return found;
}

/** Weights and biases whose names say nothing go by their layer. */
function layerPath(name: string, weightOf: LayerSite | undefined, biasOf: LayerSite | undefined): string {
  if (/\.(weight|bias)$/.test(name)) return name;
  if (weightOf !== undefined) return `${weightOf.path}.weight`;
  return biasOf === undefined ? name : `${biasOf.path}.bias`;
}

/** The value that an adapter's file has for a tensor, in the graph's layout; else the model's own. */
export async function replacedBySource(
  { source }: PreparedAdapter,
  { path, transposed }: Omit<SavedTensor, "name" | "adapter">,
  own: Tensor,
): Promise<Tensor> {
  const info = source?.replacements.get(path);
  if (info === undefined || source === undefined) return own;
  const read = await source.checkpoint.read(info.name);
  return transposed ? turned(read) : read;
}

/** The same for an adapter of block scope. Throws `SHAPE_MISMATCH`. */
export function givenInstead(
  { saved }: BlockAdapterSpec,
  { path, transposed }: Omit<SavedTensor, "name" | "adapter">,
  own: Tensor,
): Tensor {
  const given = saved?.[path];
  if (given === undefined) return own;
  const fitting = transposed && given.shape.length === 2 ? turned(given) : given;
  if (`${fitting.shape}` === `${own.shape}`) return fitting;
  throw shapeMismatch({
    where: "adapter",
    tensor: path,
    expected: { from: "the model", shape: transposed ? turned(own).shape : own.shape },
    got: { from: "the adapter", shape: given.shape },
  });
}

/** Throws `UNKNOWN_TENSOR` where a file has a whole tensor for which the model or the list of saved modules has no place. */
export function requireSaved(
  { saved = {} }: BlockAdapterSpec,
  found: readonly Omit<SavedTensor, "name" | "adapter">[],
): void {
  const known = found.map(({ path }) => path);
  const unknown = Object.keys(saved).find((name) => !known.includes(name));
  if (unknown !== undefined) throw unknownName({ kind: "tensor", name: unknown, known, code: "UNKNOWN_TENSOR" });
}

/** A matrix transposed: a view. */
export function turned(matrix: Tensor): Tensor {
  const { shape, stride } = matrix;
  return { ...matrix, shape: [shape[1], shape[0]], stride: [stride[1], stride[0]] };
}
