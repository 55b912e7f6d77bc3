import type { Value } from "@loomweight/graph";
import { LoomweightError, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import type { LayerKind, LayerShape } from "./layer.ts";
import type { PeftFormat } from "./peft/format.ts";

/**
 * One dimension of a parameter: a number, the layer's `in` or `out`, or one entry per `per` of them. Dimensions that
 * run along the layer are sliced together with it, which is how tensors larger than memory are folded.
 */
export type ParamDim = number | "in" | "out" | { readonly along: "in" | "out"; readonly per: number };
export type ParamShape = readonly ParamDim[];

export type Params<P extends string = string> = Readonly<Record<P, Value>>;

/** A layer inside a computation. `weight` is [out, in] whatever the storage; `base` the weight before any adapter. */
export interface LayerValues extends LayerShape {
  readonly weight: Value;
  readonly base: Value;
}

/** A layer inside a graph. */
export interface LayerInGraph extends LayerValues {
  readonly bias?: Value;
  /** The weight as it is stored. */
  readonly storedWeight: Value;
  /** The layer's output without adapter: x · weightᵀ + bias, the convolution, or the rows that x names. */
  forward(x: Value): Value;
  /** The same operation with another weight in stored layout and no bias: what a low-rank factor of a convolution uses. */
  operation(x: Value, weight: Value): Value;
  /** A vector [out] in a shape that broadcasts over the layer's output. */
  perOutput(vector: Value): Value;
}

/** Numbers by (name, index): the same on every platform. */
export interface AdapterRandom {
  /** Uniform in [low, high), float32. */
  uniform(name: string, shape: readonly number[], low: number, high: number): Tensor<"float32">;
  /** Normal with mean 0, float32. */
  normal(name: string, shape: readonly number[], deviation: number): Tensor<"float32">;
}

/** What an initialisation may need beside shapes; methods say by name what is missing. */
export interface InitContext {
  readonly random: AdapterRandom;
  /** The layer's weight as [out, in]; for methods that start from it. */
  readonly weight?: Tensor;
  /** Statistics of the layer's inputs gathered over data, by name. */
  readonly statistics?: Readonly<Record<string, Tensor>>;
}

/** How far a method can be evaluated slice by slice along an axis: slices are multiples of the number; absent: only whole. */
export interface Tiling {
  readonly out?: number;
  readonly in?: number;
}

/**
 * A parameter-efficient fine-tuning method. Folding, training, swapping and exporting derive from this definition.
 * Values may be tensors (evaluated at once: folding) or symbolic (a graph). Float64 in, float64 out when folding.
 */
export interface AdapterMethod<S extends OptionSpecs = OptionSpecs, P extends string = string> {
  /** Kebab-case; also the file's name. */
  readonly name: string;
  /** Where the method is published: "arXiv:2106.09685". */
  readonly source: string;
  /** `layer`: changes one weight. `block`: wraps or adds whole modules; has no `weight`. */
  readonly scope: "layer" | "block";
  readonly kinds: readonly LayerKind[];
  readonly options: S;
  /** Parameters of one layer; those that an option switches off are absent. Throws `INVALID_OPTION` for options that do not fit the layer. */
  params(layer: LayerShape, options: OptionValues<NoInfer<S>>): { readonly [K in P]?: ParamShape };
  /** Tensors that all adapted layers share; handed to every other function among `params`. */
  shared?(
    layers: ReadonlyMap<string, LayerShape>,
    options: OptionValues<NoInfer<S>>,
    random: AdapterRandom,
  ): Readonly<Record<string, Tensor>>;
  /** Fresh parameters: the adapted layer computes what the layer computed. */
  init(layer: LayerShape, options: OptionValues<NoInfer<S>>, context: InitContext): Readonly<Record<string, Tensor>>;
  /** Further inputs of the adapted model: a task's number, a condition. */
  readonly inputs?: Readonly<
    Record<string, { readonly dtype: "float32" | "int64"; readonly shape: readonly (number | string)[] }>
  >;
  /** Parameters made by a network, per sample or task, from `inputs` and the layer's own parameters. */
  generate?(
    layer: LayerShape,
    params: Params<NoInfer<P>>,
    inputs: Readonly<Record<string, Value>>,
    options: OptionValues<NoInfer<S>>,
  ): Params<NoInfer<P>>;
  /** Output of the adapted layer. */
  apply(layer: LayerInGraph, params: Params<NoInfer<P>>, x: Value, options: OptionValues<NoInfer<S>>): Value;
  /**
   * Sums over `in` that `weight` needs, each [out, 1], computed from `layer.base` (not from what other adapters made
   * of it). Where a tile holds only part of `in`, the executor adds them up over all tiles first.
   */
  sums?(
    layer: LayerValues,
    params: Params<NoInfer<P>>,
    options: OptionValues<NoInfer<S>>,
  ): Readonly<Record<string, Value>>;
  /** The effective weight [out, in], where one exists. */
  weight?(
    layer: LayerValues,
    params: Params<NoInfer<P>>,
    options: OptionValues<NoInfer<S>>,
    sums: Readonly<Record<string, Value>>,
  ): Value;
  /** What is added to the layer's bias [out], where the layer has these parameters. */
  readonly bias?: {
    readonly needs: readonly NoInfer<P>[];
    add(layer: LayerShape, params: Params<NoInfer<P>>, options: OptionValues<NoInfer<S>>): Value;
  };
  tiling?(layer: LayerShape, options: OptionValues<NoInfer<S>>): Tiling;
  readonly files: PeftFormat<NoInfer<S>, NoInfer<P>>;
}

/** Declares an adapter method; says at once where a definition contradicts itself. */
export function defineAdapter<const S extends OptionSpecs, P extends string>(
  method: AdapterMethod<S, P>,
): AdapterMethod<S, P> {
  const problem = !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(method.name)
    ? "its name is not kebab-case"
    : method.scope === "block" && method.weight !== undefined
      ? "a block method has no weight"
      : method.sums !== undefined && method.weight === undefined
        ? "sums are for weight"
        : method.kinds.length === 0
          ? "it adapts no kind of layer"
          : undefined;
  if (problem === undefined) return method;
  throw new LoomweightError({ code: "INVALID_METHOD", problem: `adapter method "${method.name}": ${problem}` });
}

/** The size of a parameter's dimension for a layer. */
export function dimSize(dim: ParamDim, layer: { readonly in: number; readonly out: number }): number {
  if (typeof dim === "number") return dim;
  return typeof dim === "string" ? layer[dim] : Math.ceil(layer[dim.along] / dim.per);
}

/** A parameter's shape for a layer. */
export function paramShape(shape: ParamShape, layer: { readonly in: number; readonly out: number }): number[] {
  return shape.map((dim) => dimSize(dim, layer));
}
