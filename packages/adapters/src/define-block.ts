import type { Value } from "@loomweight/graph";
import { LoomweightError, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import type { AdapterRandom, Params } from "./define.ts";

/**
 * A place in a model where activations are changed: a module (`blocks.3.mlp`) from x [.., in] to y [.., out]. `index`
 * counts the adapted sites; `position` says what kind of sub-layer it is, for methods that tell them apart.
 */
export interface BlockShape {
  readonly path: string;
  readonly index: number;
  readonly in: number;
  readonly out: number;
  readonly position?: BlockPosition;
}
export type BlockPosition = "feedForward" | "selfAttention" | "crossAttention";

/** A site inside a graph, or on tensors. */
export interface BlockInGraph extends BlockShape {
  /** What the module is given. */
  readonly input: Value;
  /** What it computes without adapter. */
  readonly output: Value;
  /** What the output is added to, where it is: the residual stream [.., out]. */
  readonly residual?: Value;
  /** In training: drops entries of x at this rate, scaled; `name` tells the masks of one site apart. Absent: nothing is dropped. */
  dropout?(x: Value, name: string, rate: number): Value;
}

/** What the initialisation of a site may need. */
export interface BlockInitContext {
  readonly random: AdapterRandom;
  /** Statistics of the site's inputs gathered over data, by name. */
  readonly statistics?: Readonly<Record<string, Tensor>>;
}

export type BlockTensors = Readonly<Record<string, Tensor>>;
export type BlockShapes<P extends string = string> = { readonly [K in P]?: readonly number[] };

/** Further inputs of an adapted model: a task's number, a condition. */
export type BlockInputs = Readonly<
  Record<string, { readonly dtype: "float32" | "int64"; readonly shape: readonly (number | string)[] }>
>;

/**
 * A method that changes activations at sites: bottlenecks, gates, generated adapters. It has no effective weight, so it
 * is attached or exported, not folded. Values may be tensors (float64 stays float64) or symbolic.
 */
export interface BlockMethod<S extends OptionSpecs = OptionSpecs, P extends string = string> {
  /** Kebab-case; also the file's name. */
  readonly name: string;
  readonly source: string;
  readonly scope: "block";
  readonly options: S;
  /** Shapes of the tensors of one site. Throws `INVALID_OPTION` for options that do not fit it. */
  params(site: BlockShape, options: OptionValues<NoInfer<S>>): BlockShapes<P>;
  /** Shapes of tensors that all sites share. */
  shared?(sites: readonly BlockShape[], options: OptionValues<NoInfer<S>>): Readonly<Record<string, readonly number[]>>;
  /** Fresh tensors of one site, float32. */
  init(site: BlockShape, options: OptionValues<NoInfer<S>>, context: BlockInitContext): BlockTensors;
  initShared?(sites: readonly BlockShape[], options: OptionValues<NoInfer<S>>, random: AdapterRandom): BlockTensors;
  /** What the adapted model is told besides its own inputs. */
  inputs?(options: OptionValues<NoInfer<S>>): BlockInputs;
  /** What `apply` is handed, made from the site's own tensors, the shared ones and the inputs; absent: the site's own. */
  generate?(
    site: BlockShape,
    tensors: { readonly own: Params<NoInfer<P>>; readonly shared: Params },
    inputs: Readonly<Record<string, Value>>,
    options: OptionValues<NoInfer<S>>,
  ): Params;
  /** The site's new output. */
  apply(site: BlockInGraph, params: Params, options: OptionValues<NoInfer<S>>): Value;
}

/** Declares a method of block scope; says at once where a definition contradicts itself. */
export function defineBlockAdapter<const S extends OptionSpecs, P extends string>(
  method: BlockMethod<S, P>,
): BlockMethod<S, P> {
  const problem = !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(method.name)
    ? "its name is not kebab-case"
    : (method.shared === undefined) !== (method.initShared === undefined)
      ? "shared and initShared come together"
      : method.inputs !== undefined && method.generate === undefined
        ? "inputs are for generate"
        : undefined;
  if (problem === undefined) return method;
  throw new LoomweightError({ code: "INVALID_METHOD", problem: `adapter method "${method.name}": ${problem}` });
}

/** Trained numbers of an adapter on these sites: all sites' own and what they share. */
export function countBlockParameters<S extends OptionSpecs, P extends string>(
  method: BlockMethod<S, P>,
  sites: readonly BlockShape[],
  options: OptionValues<S>,
): number {
  const shapes = [
    ...sites.flatMap((site) => Object.values<readonly number[] | undefined>(method.params(site, options))),
    ...Object.values(method.shared?.(sites, options) ?? {}),
  ];
  return shapes.reduce((total, shape) => total + (shape ?? []).reduce((a, b) => a * b, shape === undefined ? 0 : 1), 0);
}
