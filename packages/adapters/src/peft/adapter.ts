import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import type { OptionSpecs, OptionValues } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import type { LayerKind } from "../layer.ts";
import type { AdapterConfig } from "./config.ts";
import type { Targets } from "./targets.ts";

/** One adapted module, as its file has it. */
export interface AdaptedModule {
  /** Path in the model that was trained: "model.layers.0.self_attn.q_proj". */
  readonly path: string;
  /** What its keys say about its kind; undefined: linear, transposed or convolution, by the base's weight. */
  readonly kind: LayerKind | undefined;
  readonly options: OptionValues<OptionSpecs>;
  /** Parameter → tensor of the file. */
  readonly params: ReadonlyMap<string, TensorInfo>;
}

/** An adapter read from PEFT's files: what it changes, with tensors still on disk. */
export interface Adapter {
  /** For messages: its folder. */
  readonly location: string;
  readonly config: AdapterConfig;
  readonly method: AdapterMethod;
  readonly targets: Targets;
  readonly modules: ReadonlyMap<string, AdaptedModule>;
  /** Tensors that replace the base's (modules_to_save, biases, saved embeddings): path of the tensor → the file's. */
  readonly replacements: ReadonlyMap<string, TensorInfo>;
  /** Tensors that only repeat the base. */
  readonly ignored: readonly string[];
  readonly checkpoint: Checkpoint;
  readonly warnings: readonly string[];
}
