import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import type { OptionSpecs, OptionValues, Tensor } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import type { LayerKind } from "../layer.ts";
import type { AdapterConfig } from "./config.ts";
import type { Targets } from "./targets.ts";
import type { WrappedParameters } from "./wrapped.ts";

/** A part of a stored tensor: how a parameter of one expert is cut out of what all experts share. */
export interface ParamPart {
  /** Of the part. */
  readonly shape: readonly number[];
  /** The part as a view, from the whole stored tensor. */
  view(stored: Tensor): Tensor;
}

/** One adapted module, as its file has it. */
export interface AdaptedModule {
  /** Path in the model that was trained: "model.layers.0.self_attn.q_proj". */
  readonly path: string;
  /** The adapter's own, or another one whose tensors stand in the same file. */
  readonly method: AdapterMethod;
  /** What its keys say about its kind; undefined: linear, transposed or convolution, by the base's weight. */
  readonly kind: LayerKind | undefined;
  readonly options: OptionValues<OptionSpecs>;
  /** Parameter → tensor of the file. */
  readonly params: ReadonlyMap<string, TensorInfo>;
  /** Where a parameter is only a part of its tensor. */
  readonly parts?: ReadonlyMap<string, ParamPart>;
}

/** An adapter read from PEFT's files: what it changes, with tensors still on disk. */
export interface Adapter {
  /** For messages: its folder. */
  readonly location: string;
  readonly config: AdapterConfig;
  readonly method: AdapterMethod;
  readonly targets: Targets;
  readonly modules: ReadonlyMap<string, AdaptedModule>;
  /**
   * The options of every module that the target fields select, where the file does not name modules; such modules are
   * found in the base.
   */
  readonly implied?: { optionsOf(path: string): OptionValues<OptionSpecs> };
  /** Adapted parameters that are no module's weight: those of `target_parameters`. */
  readonly wrapped?: WrappedParameters;
  /** Tensors of no module, by what follows `base_model.` in their keys. */
  readonly shared: ReadonlyMap<string, TensorInfo>;
  /** Tensors that replace the base's (modules_to_save, biases, saved embeddings): path of the tensor → the file's. */
  readonly replacements: ReadonlyMap<string, TensorInfo>;
  /** Tensors that only repeat the base. */
  readonly ignored: readonly string[];
  readonly checkpoint: Checkpoint;
  readonly warnings: readonly string[];
}
