import { type Adapter, type FoldPlan, foldAdapters, requireNoWrapped } from "@loomweight/adapters";
import type { Initializer, LazyTensor, OnnxModel } from "@loomweight/graph";
import { elementCount, fromData, LoomweightError, type Tensor, toFloat32 } from "@loomweight/tensor";
import { floatsOfForm } from "../reweight/forms.ts";
import { encodedParts, latestParts } from "../reweight/parts.ts";
import { findSlots, type WeightSlot } from "../reweight/slots.ts";
import { addSums, type KeptShare, noSums, refuseLoss, shareOf, shareSums } from "./kept-share.ts";
import { type ViewedWeight, viewWeights, type WeightView } from "./weight-view.ts";

export interface FoldGraphOptions {
  /** The model's config.json: which layers are GPT-2's Conv1D. Default: by shapes. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Least share of the adapter's change, over all weights, that must be left after coding; default 0.5. */
  readonly minimalKept?: number;
  /** Write it whatever is lost; default false. */
  readonly allowLoss?: boolean;
  /** For messages: the graph's file. */
  readonly file?: string;
  readonly signal?: AbortSignal;
  /** Called before each changed weight is measured. */
  readonly onWeight?: (done: number, total: number) => void;
}

/** A graph with adapters folded in; changed weights are read and coded again when it is written. */
export interface FoldedGraph {
  readonly model: OnnxModel;
  /** What is left of the change in each weight that changed, in the graph's order. */
  readonly weights: readonly KeptShare[];
  /** Over all of them. */
  readonly total: { readonly kept: number; readonly noise: number };
  readonly warnings: readonly string[];
}

/** Default of `minimalKept`: below it the codes hold more rounding than adapter. */
export const defaultMinimalKept = 0.5;

/**
 * Folds adapters into the weights of a graph, float or quantized: each weight that they change is read as floats
 * (dequantized), changed, and coded again in its own form; all others keep their bytes. Before anything is written it is
 * measured how much of the change the codes still hold.
 * Throws what `findSlots`, `planFold` and coding throw, `ADAPTER_LOST` where less than `minimalKept` is left.
 */
export async function foldGraph(
  model: OnnxModel,
  adapters: readonly Adapter[],
  options: FoldGraphOptions = {},
): Promise<FoldedGraph> {
  const { file = "the graph", minimalKept = defaultMinimalKept, signal } = options;
  for (const adapter of adapters) requireNoWrapped(adapter, "folded into an ONNX file");
  const slots = await findSlots(model.graph);
  const view = viewWeights(slots, adapters, file);
  const { checkpoint: folded, plan } = foldAdapters({ checkpoint: view.checkpoint, config: options.config }, adapters);
  refuseReplacements(plan, file);
  const changed = changesBySlot(plan, view.weights);
  const result = withFolded(model, view, changed, folded.read);
  const after = new Map((await findSlots(result.graph)).map((slot) => [slot.name, slot]));
  const weights: KeptShare[] = [];
  let sums = noSums;
  let done = 0;
  for (const [slot, parts] of changed) {
    signal?.throwIfAborted();
    options.onWeight?.(done++, changed.size);
    const { base, wanted } = await floatForms(view, slot, parts, folded.read);
    const own = shareSums(base, toFloat32(wanted), await floatsOfForm((after.get(slot.name) ?? slot).form));
    weights.push({ initializer: slot.name, form: slot.form.description, ...shareOf(own) });
    sums = addSums(sums, own);
  }
  const total = shareOf(sums);
  if (options.allowLoss !== true) refuseLoss(total, weights, minimalKept, file);
  return { model: result, weights, total, warnings: plan.warnings };
}

type Read = (name: string) => Promise<Tensor>;
type Changes = ReadonlyMap<WeightSlot, readonly { readonly name: string; readonly weight: ViewedWeight }[]>;

function changesBySlot(plan: FoldPlan, weights: ReadonlyMap<string, ViewedWeight>): Changes {
  const changed = new Map<WeightSlot, { name: string; weight: ViewedWeight }[]>();
  for (const { name, operations } of plan.tensors.values()) {
    const weight = weights.get(name);
    if (operations.length === 0 || weight === undefined) continue;
    const list = changed.get(weight.slot) ?? [];
    changed.set(weight.slot, list);
    list.push({ name, weight });
  }
  return changed;
}

/** Whole tensors in place of the base's would need a place of their own in the graph. */
function refuseReplacements(plan: FoldPlan, file: string): void {
  const replaced = [...plan.tensors.values()].find(({ source }) => source.checkpoint !== plan.base);
  if (replaced === undefined) return;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: "the adapter replaces a whole tensor, which folding into an ONNX file does not do",
    file,
    tensor: replaced.name,
    fix: "Fold into the model, and put its weights into the export (reweight).",
  });
}

/** A weight in its float form before and after: what no adapter touches in a packed one stays. */
async function floatForms(
  view: WeightView,
  slot: WeightSlot,
  parts: Changes extends ReadonlyMap<WeightSlot, infer Parts> ? Parts : never,
  read: Read,
): Promise<{ base: Float32Array; wanted: Tensor }> {
  const { form } = slot;
  const base = await view.floats(slot);
  const values = base.slice();
  const columns = form.shape.at(-1) ?? 1;
  for (const { name, weight } of parts) {
    const changed = toFloat32(await read(name));
    const width = Math.max(1, elementCount(weight.shape.slice(1)));
    let [row, column] = [weight.start, 0];
    for (let i = 0; i < changed.length; i++) {
      values[weight.transpose ? column * columns + row : row * width + column] = changed[i];
      if (++column === width) [row, column] = [row + 1, 0];
    }
  }
  return { base, wanted: fromData("float32", values, form.shape) };
}

function withFolded(model: OnnxModel, view: WeightView, changed: Changes, read: Read): OnnxModel {
  const initializers = new Map(model.graph.initializers);
  const latest = latestParts();
  for (const [slot, parts] of changed) {
    const { form } = slot;
    const weight: LazyTensor = {
      dtype: "float32",
      shape: form.shape,
      read: async () => (await floatForms(view, slot, parts, read)).wanted,
    };
    if (form.exact) {
      const [name] = form.parts;
      const data: LazyTensor = { ...weight, dtype: form.dtype, read: async () => form.encode(await weight.read())[0] };
      initializers.set(name, { ...(initializers.get(name) ?? { name, dtype: form.dtype, shape: form.shape }), data });
      continue;
    }
    const old = form.parts.map((name) => initializers.get(name) as Initializer);
    const coded = encodedParts(latest, form, old, weight);
    for (const [at, name] of form.parts.entries()) initializers.set(name, { ...old[at], data: coded[at] });
  }
  const constants = new Set([...changed.keys()].flatMap((slot) => slot.constant ?? []));
  const nodes = model.graph.nodes.filter((node) => !constants.has(node));
  return { ...model, graph: { ...model.graph, nodes, initializers } };
}
