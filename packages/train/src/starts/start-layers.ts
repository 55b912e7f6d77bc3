import type { LayerShape, LowRankOptions } from "@loomweight/adapters";
import { type AdapterSpec, type LayerSite, targetLayers } from "@loomweight/adapters/attach";
import type { Checkpoint } from "@loomweight/checkpoint";
import { type ImportedModel, importOnnx, type OnnxModel, type Runtime } from "@loomweight/graph";
import type { Batch } from "@loomweight/graph/training";
import { LoomweightError, type OptionSpecs, parseOptions, type Tensor } from "@loomweight/tensor";

/** What an initialisation that looks at data needs. */
export interface DataStartOptions {
  readonly runtime: Runtime;
  /** The base model: built by `@loomweight/models` (fuse: "none"), or an imported file. */
  readonly model: OnnxModel | ImportedModel;
  readonly checkpoint?: Checkpoint;
  /** The adapter as it would be without the data; its method is LoRA or another that starts alike. */
  readonly adapter: AdapterSpec;
  /** Batches of the model's inputs by name; read again from the start where one pass is not enough. */
  readonly batches: () => Iterable<Batch> | AsyncIterable<Batch>;
}

/** Options of `attach` and `trainAdapter` for an adapter that starts from data. */
export interface DataStart {
  readonly adapter: AdapterSpec;
  readonly statistics: (path: string) => Readonly<Record<string, Tensor>> | undefined;
}

/** A linear layer that starts from data. */
export interface StartLayer {
  readonly path: string;
  readonly layer: LayerShape;
  readonly sites: readonly LayerSite[];
  readonly options: LowRankOptions;
}

/** The layers that a specification selects. */
export interface StartLayers {
  readonly imported: ImportedModel;
  /** By path, in the order of the model. */
  readonly linear: ReadonlyMap<string, StartLayer>;
  /** Targets that are no linear layers: they start as usual. */
  readonly others: readonly { readonly path: string; readonly options: LowRankOptions }[];
  /** Options of a layer without any of its own. */
  readonly options: LowRankOptions;
}

/** Finds layers and ranks. Throws `NO_TARGET`, `INVALID_OPTION` where the method has no start of that name. */
export async function startLayers(
  { model, checkpoint, adapter }: Pick<DataStartOptions, "model" | "checkpoint" | "adapter">,
  init: string,
): Promise<StartLayers> {
  const imported = "parameters" in model ? model : await importOnnx(model);
  const specs = adapter.method.options as OptionSpecs;
  if (!Object.hasOwn(specs, "init") || !Object.hasOwn(specs, "rank")) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: `${adapter.method.name} does not start from factors`,
      option: "adapter.method",
      expected: "a method with the options rank and init, such as lora",
    });
  }
  const given = { ...adapter.options, init };
  const linear = new Map<string, StartLayer>();
  const others: { path: string; options: LowRankOptions }[] = [];
  for (const target of targetLayers(imported, checkpoint, { ...adapter, options: given })) {
    const { path, sites } = target;
    const [{ layer }] = sites;
    const options = target.options as unknown as LowRankOptions;
    if (layer.kind === "linear" || layer.kind === "transposedLinear") linear.set(path, { path, layer, sites, options });
    else others.push({ path, options });
  }
  if (linear.size === 0) {
    throw new LoomweightError({
      code: "NO_TARGET",
      problem: "a start from data is for linear layers, and the targets select none",
      option: "targets",
      found: others.map(({ path }) => path).join(", "),
    });
  }
  const options = parseOptions(specs, given, adapter.method.name) as unknown as LowRankOptions;
  return { imported, linear, others, options };
}
