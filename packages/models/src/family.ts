import type { GraphValue, Value } from "@loomweight/graph";
import type { TiedHead } from "./components/heads.ts";
import type { Module } from "./components/module.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { Task } from "./tasks.ts";
import type { ComputeDType } from "./weights.ts";

/** Inputs and outputs of a graph under construction, in the order in which they are declared. */
export interface FamilyGraph {
  readonly inputs: readonly GraphValue[];
  readonly outputs: Readonly<Record<string, Value>>;
}

/**
 * Names of the files that transformers.js loads: one "model", or the two halves of an encoder–decoder, or the two towers of
 * a model of text and images.
 */
export type GraphName = "model" | "encoder_model" | "decoder_model_merged" | "text_model" | "vision_model";

/** The graphs of a model that is more than one, in the order in which they are written. */
export interface FamilyGraphs {
  readonly graphs: Readonly<Partial<Record<GraphName, FamilyGraph>>>;
}

/** What a family builds from. */
export interface FamilyBuild<C> {
  readonly config: C;
  /** The root: weights are named as in the checkpoint. */
  readonly model: Module;
  readonly task: Task;
  readonly dtype: ComputeDType;
  /** dtype of cache inputs and outputs. */
  readonly cacheDtype: ComputeDType;
  readonly tiedHead: TiedHead;
  /** Whether a decoder takes `num_logits_to_keep`. */
  readonly logitsToKeep: boolean;
  /** How many rows a decoder takes at once; undefined: any number. */
  readonly batchSize: 1 | undefined;
}

/** A language head and the table it is tied to, by their full names. */
export interface HeadNames {
  readonly head: string;
  readonly embedding: string;
  /** Whether the configuration ties them. */
  readonly tied: boolean;
}

/** A model family: how its configuration is read and how its graph is built. One file per family. */
export interface ModelFamily<C> {
  readonly name: string;
  /** Paper or code that defines it. */
  readonly source: string;
  /** Values of `model_type` in config.json. */
  readonly modelTypes: readonly string[];
  /** Class names of config.json's `architectures` and the task each stands for. */
  readonly architectures: Readonly<Record<string, Task>>;
  readonly tasks: readonly Task[];
  /** Prefix of the base model's weights, which checkpoints of the bare base model lack: "model.". */
  readonly basePrefix: string;
  /** Tensors that checkpoints may hold and this family does not need: buffers, heads of other tasks. */
  readonly unneeded: readonly RegExp[];
  /** The same for single tasks: the decoder, where only the encoder is built. */
  readonly unneededFor?: Readonly<Partial<Record<Task, readonly RegExp[]>>>;
  /** Reads every field that changes the result. Throws `INVALID_CONFIG`. */
  readConfig(config: ConfigReader): C;
  /** Classes that folders bring as code of their own (`auto_map`) and that compute what this family does. */
  readonly knownCode?: readonly string[];
  /** Whether config.json may say `is_encoder_decoder`; default false. */
  readonly encoderDecoder?: boolean;
  /** Names of the head and the embedding it may be tied to, where the task has them. */
  headNames?(config: C, task: Task): HeadNames | undefined;
  build(options: FamilyBuild<C>): FamilyGraph | FamilyGraphs;
}

/** Declares a family; its configuration type stays inside its file. */
export function defineFamily<C>(family: ModelFamily<C>): ModelFamily<C> {
  return family;
}

/** A family in a list: its configuration type is its own affair. */
// biome-ignore lint/suspicious/noExplicitAny: what readConfig gives, build takes
export type AnyFamily = ModelFamily<any>;
