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

/**
 * A layer, or a slice of one, inside a computation. `weight` is [out, in] whatever the storage; `base` the weight before
 * any adapter.
 */
export interface LayerValues extends LayerShape {
  readonly weight: Value;
  readonly base: Value;
  /** Where the slice begins within the whole layer; absent: at [0, 0]. */
  readonly offset?: { readonly out: number; readonly in: number };
}

/** A layer inside a graph. */
export interface LayerInGraph extends LayerValues {
  readonly bias?: Value;
  /** The weight as it is stored. */
  readonly storedWeight: Value;
  /** What the layer itself reads, where dropout shows the method less of it. */
  readonly input?: Value;
  /** The layer's output without adapter: x · weightᵀ + bias, the convolution, or the rows that x names. */
  forward(x: Value): Value;
  /**
   * The same operation with another weight in stored layout and no bias: what a low-rank factor of a convolution uses.
   * `groups` of a convolution: default the layer's own.
   */
  operation(x: Value, weight: Value, options?: { readonly groups?: number }): Value;
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
  /** The layer's bias [out]; undefined where it has none. */
  readonly bias?: Tensor;
  /** Statistics of the layer's inputs gathered over data, by name. */
  readonly statistics?: Readonly<Record<string, Tensor>>;
}

/**
 * A parameter as its file stores it: shape before any reading. Absent for fresh adapters, whose shapes follow from the
 * options alone.
 */
export type StoredShapes<P extends string = string> = ReadonlyMap<P, readonly number[]>;

/** A tensor of the file that belongs to no module; `null`: any size. */
export interface SharedParam {
  /** What follows `base_model.` in its key. */
  readonly key: string;
  readonly shape: readonly (number | null)[];
  /** Files may leave it out. */
  readonly optional?: boolean;
}

/** Where a layer stands among those that an adapter changes. */
export interface LayerPlace {
  /** Its module's path in the model that was trained. */
  readonly path: string;
  /** Every adapted layer by path. */
  readonly layers: ReadonlyMap<string, LayerShape>;
  /**
   * The same in the order in which the model's modules are built: seeds, groups and positions in common tensors are dealt out along it. Throws `UNSUPPORTED_ADAPTER` where that order is not known.
   */
  layersInOrder(): ReadonlyMap<string, LayerShape>;
}

/** What `prepare` may read: whole tensors in float64, never a slice. */
export interface PrepareContext extends LayerPlace {
  /** The layer's weight [out, in] before any adapter. */
  weight(): Promise<Tensor<"float64">>;
}

/**
 * What a fresh adapter makes of its layer: `base`: what the layer computed before; `near`: something else, small as it
 * is; `none`: there is no fresh adapter, `init` refuses, and only files have one.
 */
export type FreshAdapter = "base" | "near" | "none";

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
  /**
   * Parameters of one layer; those that an option switches off are absent. `stored`: what a file holds, for methods
   * whose structure is in the file rather than in its options. Throws `INVALID_OPTION` for options that do not fit the
   * layer.
   */
  params(
    layer: LayerShape,
    options: OptionValues<NoInfer<S>>,
    stored?: StoredShapes,
  ): { readonly [K in P]?: ParamShape };
  /** Parameters that a file may leave out: their absence is a setting of its own. */
  readonly optional?: readonly NoInfer<P>[];
  /** Parameters, own or shared, that training leaves as they are: random projections, positions. Whole numbers always are. */
  readonly frozen?: readonly NoInfer<P>[];
  /** Fresh tensors that all adapted layers share, by key; handed to every other function among `params`. */
  shared?(
    layers: ReadonlyMap<string, LayerShape>,
    options: OptionValues<NoInfer<S>>,
    random: AdapterRandom,
  ): Readonly<Record<string, Tensor>>;
  /** Which of the shared tensors a layer uses, under which name among its `params`. Never sliced. */
  sharedParams?(
    layer: LayerShape,
    options: OptionValues<NoInfer<S>>,
    place: LayerPlace,
  ): { readonly [K in P]?: SharedParam };
  /** Shapes of what `prepare` can make: they say how it is sliced. */
  prepared?(layer: LayerShape, options: OptionValues<NoInfer<S>>): { readonly [K in P]?: ParamShape };
  /**
   * Constants of a layer that its file does not hold: made once per layer from seeds, from shared tensors or from the
   * whole base weight, and handed to `apply`, `weight`, `sums` and `bias` among the parameters. `params` are tensors,
   * float64 or int64, and so is what comes out; while an adapter trains, what `prepare` makes stays as it was.
   */
  prepare?(
    layer: LayerShape,
    params: Readonly<Partial<Record<NoInfer<P>, Tensor>>>,
    options: OptionValues<NoInfer<S>>,
    context: PrepareContext,
  ): Readonly<Partial<Record<NoInfer<P>, Tensor>>> | Promise<Readonly<Partial<Record<NoInfer<P>, Tensor>>>>;
  /** What a layer with a fresh adapter computes; default "base". */
  fresh?(options: OptionValues<NoInfer<S>>): FreshAdapter;
  /** Fresh parameters, those of `params`; of `optional` ones those that the layer has a use for. */
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
  /** The effective weight [out, in], where one exists; absent where the method changes a bias only. */
  weight?(
    layer: LayerValues,
    params: Params<NoInfer<P>>,
    options: OptionValues<NoInfer<S>>,
    sums: Readonly<Record<string, Value>>,
  ): Value;
  /** W′ − W does not depend on W: unfolding subtracts it. */
  readonly additive?: boolean;
  /**
   * The weight before from the one after (`layer.weight`), where `weight` can be undone and is not additive; undefined
   * for options with which it cannot.
   */
  original?(layer: LayerValues, params: Params<NoInfer<P>>, options: OptionValues<NoInfer<S>>): Value | undefined;
  /** What becomes of the layer's bias [out], where the layer has these parameters. */
  readonly bias?: {
    readonly needs: readonly NoInfer<P>[];
    /** A layer without bias: `refuse` (default) or `skip`, where the method says nothing about one that is not there. */
    readonly missing?: "refuse" | "skip";
    /** The same where it depends on the options. */
    missingFor?(options: OptionValues<NoInfer<S>>): "refuse" | "skip";
    change(bias: Value, layer: LayerShape, params: Params<NoInfer<P>>, options: OptionValues<NoInfer<S>>): Value;
    /** The bias before from the one after; absent where `change` forgets it. */
    original?(bias: Value, layer: LayerShape, params: Params<NoInfer<P>>, options: OptionValues<NoInfer<S>>): Value;
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

/** What a layer computes with a fresh adapter of these options. */
export function freshAdapter<S extends OptionSpecs, P extends string>(
  method: AdapterMethod<S, P>,
  options: OptionValues<S>,
): FreshAdapter {
  return method.fresh?.(options) ?? "base";
}
