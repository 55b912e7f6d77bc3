import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { isFloat, LoomweightError, shapeMismatch } from "@loomweight/tensor";
import { type LayerPlace, type ParamShape, paramShape } from "../define.ts";
import { type LayerKind, type LayerShape, layerOf } from "../layer.ts";
import type { AdaptedModule, Adapter } from "../peft/adapter.ts";
import { inModuleOrder } from "./module-order.ts";
import type { FoldStep } from "./plan.ts";

/** What adapts one weight: the layer as the method sees it, and the shapes of its parameters. */
export interface FittedModule {
  readonly module: AdaptedModule;
  readonly layer: LayerShape;
  readonly shapes: Readonly<Record<string, ParamShape>>;
}

/** Fits every module of an adapter, and finds the shared tensors that each uses. Throws as `fitModule`. */
export function fitModules(
  adapter: Adapter,
  modules: readonly AdaptedModule[],
  base: Checkpoint,
  config: Readonly<Record<string, unknown>>,
  weightOf: (path: string) => TensorInfo | undefined,
): FoldStep[] {
  const fitted = modules.map((module) => {
    const info = weightOf(module.path) as TensorInfo;
    return { ...fitModule(adapter, module, info, config.model_type), info };
  });
  const layers = new Map(
    fitted.flatMap(({ module, layer }) => (module.method === adapter.method ? [[module.path, layer] as const] : [])),
  );
  let ordered: ReadonlyMap<string, LayerShape> | undefined;
  const layersInOrder = () => {
    ordered ??= new Map(
      inModuleOrder([...layers.keys()], adapter.location).map((path) => [path, layers.get(path) as LayerShape]),
    );
    return ordered;
  };
  return fitted.map(({ info, ...fit }) => {
    const place = { path: fit.module.path, layers, layersInOrder };
    const shared = sharedOf(adapter, fit, place);
    return { adapter, method: fit.module.method, ...fit, shared, place, weight: { base, info } };
  });
}

function sharedOf(adapter: Adapter, { module, layer }: FittedModule, place: LayerPlace): Map<string, TensorInfo> {
  const found = new Map<string, TensorInfo>();
  const wanted = module.method.sharedParams?.(layer, module.options, place) ?? {};
  for (const [param, shared] of Object.entries(wanted)) {
    if (shared === undefined) continue;
    const info = adapter.shared.get(shared.key);
    if (info === undefined) {
      if (shared.optional === true) continue;
      throw new LoomweightError({
        code: "MISSING_TENSOR",
        problem: "the adapter lacks a tensor that its layers share",
        file: adapter.location,
        expected: `base_model.${shared.key}`,
        found: [...adapter.shared.keys()].join(", ") || "no shared tensor",
        fix: "The file is incomplete; save the adapter again.",
      });
    }
    const fits =
      info.shape.length === shared.shape.length &&
      shared.shape.every((size, axis) => size === null || size === info.shape[axis]);
    if (!fits) {
      throw new LoomweightError({
        code: "SHAPE_MISMATCH",
        problem: "a tensor that layers share has another shape than the configuration asks for",
        file: info.file,
        tensor: info.name,
        expected: `[${shared.shape.map((size) => size ?? "any").join(",")}]`,
        found: `[${info.shape}]`,
        fix: "The configuration and the weights belong to different adapters, or one of them was edited.",
      });
    }
    found.set(param, info);
  }
  return found;
}

/** Models whose linear layers are GPT-2's Conv1D, stored [in, out]. */
const transposedModels = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];

/**
 * Fits an adapted module to a weight of the base: finds the kind of layer under which every tensor has the shape that
 * the method asks for. Throws `SHAPE_MISMATCH`, `MISSING_TENSOR`, `UNEXPECTED_TENSOR`, `UNSUPPORTED_DTYPE`,
 * `UNSUPPORTED_LAYER`.
 */
export function fitModule(
  adapter: Adapter,
  module: AdaptedModule,
  weight: TensorInfo,
  modelType: unknown,
): FittedModule {
  if (!isFloat(weight.dtype)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: "the base weight that the adapter changes is not made of floating-point numbers",
      file: weight.file,
      tensor: weight.name,
      expected: "a float dtype",
      found: weight.dtype,
      fix: "Fold into the model before it was quantized.",
    });
  }
  const kinds = kindsOf(adapter, module, weight, modelType);
  let first: LoomweightError | undefined;
  for (const kind of kinds) {
    try {
      return fitAs(kind, adapter, module, weight);
    } catch (error) {
      if (!(error instanceof LoomweightError)) throw error;
      first ??= error;
    }
  }
  throw first;
}

/** Kinds the module can be, most likely first. */
function kindsOf(adapter: Adapter, module: AdaptedModule, weight: TensorInfo, modelType: unknown): LayerKind[] {
  const { config } = adapter;
  const { method } = module;
  const possible: LayerKind[] =
    module.kind !== undefined
      ? [module.kind]
      : weight.shape.length === 1
        ? ["normalization"]
        : weight.shape.length > 2
          ? ["convolution"]
          : isTransposed(module.path, config.values.fan_in_fan_out === true, modelType)
            ? ["transposedLinear", "linear"]
            : ["linear", "transposedLinear"];
  const supported = possible.filter((kind) => method.kinds.includes(kind));
  if (supported.length > 0) return supported;
  throw new LoomweightError({
    code: "UNSUPPORTED_LAYER",
    problem: `${method.name} adapts ${method.kinds.join(", ")} layers, not a ${possible[0]}`,
    file: adapter.location,
    tensor: weight.name,
    found: `[${weight.shape}]`,
  });
}

function isTransposed(path: string, flag: boolean, modelType: unknown): boolean {
  const name = path.slice(path.lastIndexOf(".") + 1);
  const ofConv1D = ["c_attn", "c_proj", "c_fc", "q_attn"].includes(name);
  return typeof modelType === "string" && transposedModels.includes(modelType) ? ofConv1D : flag;
}

function fitAs(kind: LayerKind, adapter: Adapter, module: AdaptedModule, weight: TensorInfo): FittedModule {
  const { method } = module;
  const layer = layerOf(kind, weight.shape, weight.name);
  const shapes: Record<string, ParamShape> = {};
  const stored = new Map(
    [...module.params].map(([name, { shape }]) => [name, module.parts?.get(name)?.shape ?? shape]),
  );
  for (const [name, shape] of Object.entries(method.params(layer, module.options, stored)))
    if (shape !== undefined && (stored.has(name) || method.optional?.includes(name) !== true)) shapes[name] = shape;
  for (const [param, shape] of Object.entries(shapes)) {
    const info = module.params.get(param);
    const found = stored.get(param);
    if (info === undefined || found === undefined) throw missingParam(adapter, module, param, kind);
    const expected = method.files.fileShape?.(param, layer, module.options) ?? paramShape(shape, layer);
    if (expected.length === found.length && expected.every((size, axis) => size === found[axis])) continue;
    checkGroups(layer, info, expected);
    throw shapeMismatch({
      where: `${adapter.location} (${method.name})`,
      tensor: info.name,
      expected: { from: describeExpectation(module, weight), shape: [...expected] },
      got: { from: info.file, shape: [...found] },
      fix: "The adapter belongs to a base model of another size, or its configuration was edited.",
    });
  }
  const extra = [...module.params].find(([param]) => !Object.hasOwn(shapes, param));
  if (extra !== undefined) {
    throw new LoomweightError({
      code: "UNEXPECTED_TENSOR",
      problem: `the configuration of the adapter has no place for this tensor (${extra[0]})`,
      file: extra[1].file,
      tensor: extra[1].name,
      expected: Object.keys(shapes).join(", "),
    });
  }
  return { module, layer, shapes };
}

function describeExpectation(module: AdaptedModule, weight: TensorInfo): string {
  const fields = Object.entries(module.method.files.optionFields)
    .filter(([option]) => typeof module.options[option] === "number")
    .map(([option, field]) => `${field} ${module.options[option]}`);
  return `the configuration (${fields.join(", ")}) with the base's weight [${weight.shape}]`;
}

function missingParam(adapter: Adapter, module: AdaptedModule, param: string, kind: LayerKind): LoomweightError {
  const { suffixes } = module.method.files;
  const names = Object.keys(suffixes).filter(
    (suffix) =>
      suffixes[suffix].param === param && (suffixes[suffix].kind === undefined || suffixes[suffix].kind === kind),
  );
  const wanted = names.find((suffix) => suffixes[suffix].kind === kind) ?? names[0] ?? param;
  return new LoomweightError({
    code: "MISSING_TENSOR",
    problem: `the adapter's module "${module.path}" lacks a tensor`,
    file: adapter.location,
    expected: `base_model.model.${module.path}.${wanted}`,
    found: [...module.params.values()]
      .map(({ name }) => name.slice(name.lastIndexOf(module.path) + module.path.length + 1))
      .join(", "),
    fix: "The file is incomplete; save the adapter again.",
  });
}

/** A grouped convolution's factor A is not grouped: PEFT cannot merge it either. */
function checkGroups(layer: LayerShape, info: TensorInfo, expected: readonly number[]): void {
  if (layer.kind !== "convolution" || info.shape.length !== expected.length || info.shape.length < 3) return;
  const [own, base] = [info.shape[1], layer.storedShape[1]];
  const sameKernel = info.shape.slice(2).every((size, axis) => size === layer.storedShape[axis + 2]);
  if (sameKernel && base > 0 && own > base && own % base === 0) {
    throw new LoomweightError({
      code: "UNSUPPORTED_LAYER",
      problem: `an adapter of a convolution with ${own / base} groups cannot be folded into its weight`,
      file: info.file,
      tensor: info.name,
      expected: `[${expected}]`,
      found: `[${info.shape}]`,
    });
  }
}
