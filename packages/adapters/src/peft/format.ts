import type { OptionSpecs, OptionValues, Tensor } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import type { LayerKind, LayerShape } from "../layer.ts";

/** A value of adapter_config.json. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type PeftConfig = { readonly [key: string]: Json };

/**
 * What a field of adapter_config.json means here:
 * `option`: read by the method · `target`: which modules are adapted · `note`: no effect on the weights ·
 * `unsupported`: anything but the default (or null) changes the weights in a way that is not built: refused by `what`.
 */
export interface ConfigField {
  readonly use: "option" | "target" | "note" | "unsupported";
  readonly default: Json;
  /** Python writes a float even when it is whole: `0.0`. */
  readonly float?: boolean;
  readonly what?: string;
}

/**
 * One tensor of an adapted module: which parameter it is, and for which kinds of layer only. A `#` in a suffix stands
 * for a number, which takes the place of the `#` in the parameter's name.
 */
export interface KeySuffix<P extends string> {
  readonly param: P | `${string}#${string}`;
  readonly kind?: LayerKind;
  /** Holds whole numbers (or numbers that are whole): handed on as int64. */
  readonly integer?: boolean;
}

/** How a method is stored in PEFT's files. */
export interface PeftFormat<S extends OptionSpecs = OptionSpecs, P extends string = string> {
  /** `peft_type`; the first is written, the others are older names. */
  readonly peftTypes: readonly string[];
  /** Tells methods of one `peft_type` apart; default: always. */
  applies?(config: PeftConfig): boolean;
  readonly fields: Readonly<Record<string, ConfigField>>;
  /** Option → the field that holds it. */
  readonly optionFields: Readonly<Record<string, string>>;
  /**
   * Options (not yet checked) whose value is not simply the field's, and refusals of what a field asks for and is not
   * built: throws `UNSUPPORTED_ADAPTER`, `INVALID_OPTION`.
   */
  readOptions?(config: PeftConfig, file: string): Readonly<Record<string, unknown>>;
  /** What is odd about a configuration without changing what it does. */
  warnings?(config: PeftConfig): readonly string[];
  /** Fields whose value is not simply the option's, for adapters made here. */
  writeOptions?(options: OptionValues<S>): PeftConfig;
  /** Fields that hold {pattern: value} and the option they replace per module. */
  readonly patterns?: Readonly<Record<string, string>>;
  /** What is written instead, where files have no place for an adapter as it is. */
  readonly converted?: {
    isNeeded(options: Readonly<Record<string, unknown>>): boolean;
    options(options: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
    /** From the parameters and what was prepared for the layer. */
    params(params: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>>;
  };
  /** Key suffixes after `base_model.model.<module>.`; of several for one parameter the first is written. */
  readonly suffixes: Readonly<Record<string, KeySuffix<P>>>;
  /** Options of one module beyond the patterns, by its path. Throws as `readOptions`. */
  moduleOptions?(config: PeftConfig, path: string, file: string): Readonly<Record<string, unknown>>;
  /** Keys after `base_model.` of tensors that layers share; `#` stands for a number, `*` for any rest. */
  readonly shared?: readonly string[];
  /** Where adapted modules are named: by the tensors of the file (default), or by the target fields alone. */
  readonly modules?: "file" | "targets";
  /** The target fields, where this type fills them from others or lets the file decide (`null` for target_modules). */
  readTargets?(config: PeftConfig): PeftConfig;
  /** Methods whose tensors may stand in the same file; their modules need not be targets. */
  readonly companions?: readonly AdapterMethod[];
  /** Whether the type adapts single parameters of modules too (`target_parameters`). */
  readonly singleParameters?: boolean;
  /** Shape in the file, where it is not the parameter's own. Same elements in the same order. */
  fileShape?(param: P, layer: LayerShape, options: OptionValues<S>): readonly number[] | undefined;
  /** Values of `bias` that store the biases of adapted modules only. */
  readonly biasOfAdapted: readonly string[];
}
