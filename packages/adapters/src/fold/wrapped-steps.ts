import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import type { LayerKind } from "../layer.ts";
import type { AdaptedModule, Adapter, ParamPart } from "../peft/adapter.ts";
import type { WrappedFactors, WrappedModule, WrappedParameters } from "../peft/wrapped.ts";
import { fitModule } from "./fit.ts";
import type { PathMap } from "./locate.ts";
import type { FoldStep } from "./plan.ts";

/** Where one expert's part of a parameter lies in the base. */
interface ExpertPlace {
  readonly info: TensorInfo;
  readonly expert: number;
  /** Stored rows of the tensor, where it holds all experts. */
  readonly rows?: { readonly start: number; readonly end: number };
  /** Outputs of the parameter that this tensor holds, where it holds only some (gate of gate and up). */
  readonly outputs?: { readonly start: number; readonly end: number };
}

/** A parameter that `target_parameters` selects, as the base stores it. */
interface BaseParameter {
  /** Full name in the model that was trained. */
  readonly name: string;
  readonly experts: number;
  /** The two sides of one expert's matrix as they are stored. */
  readonly stored: readonly [number, number];
  /** Whether the base may store it [in, out]: not where each expert is a linear layer of its own. */
  readonly mayBeTransposed: boolean;
  readonly places: readonly ExpertPlace[];
}

/**
 * Parameters that checkpoints on disk hold as one linear layer for each expert, and the layers' names: transformers
 * builds one tensor of them when it loads the model (its conversion of `qwen2_moe` and `mixtral`).
 */
const splitNames: Readonly<Record<string, readonly (readonly string[])[]>> = {
  gate_up_proj: [
    ["gate_proj", "up_proj"],
    ["w1", "w3"],
  ],
  down_proj: [["down_proj"], ["w2"]],
};

/** Orders in which modules declare their parameters: wrappers are nested in it, the first innermost. */
const declared: readonly (readonly string[])[] = [
  ["gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias"],
  ["gate_proj", "up_proj", "down_proj"],
  ["input_linear", "output_linear"],
  ["w1", "w2", "w3"],
  ["wi", "wo"],
  ["weight", "bias"],
];

/** Models whose experts are stored [experts, in, out]; needed where a matrix is square. */
const transposedModels = ["aria", "gpt_oss", "openai_privacy_filter", "qwen3_vl_moe"];

/** Modules that the base has under another name than the model that was trained. */
function pathsInBase(path: string): string[] {
  return path.includes(".mlp.") ? [path, path.replace(".mlp.", ".block_sparse_moe.")] : [path];
}

/** Whether the base holds a parameter of the module. */
export function hasWrapped(base: Checkpoint, wrapped: WrappedParameters, path: string, toBase: string): boolean {
  return wrapped.entries.some((entry) => {
    const name = entry.slice(entry.lastIndexOf(".") + 1);
    return wrapped.isTarget(`${path}.${name}`) && findParameter(base, toBase, path, name) !== undefined;
  });
}

/**
 * The steps of all adapted parameters, with the base tensors that they change: one for each expert. Throws
 * `UNKNOWN_TENSOR`, `SHAPE_MISMATCH`, `AMBIGUOUS_ADAPTER`.
 */
export function wrappedSteps(
  adapter: Adapter,
  base: Checkpoint,
  config: Readonly<Record<string, unknown>>,
  paths: PathMap,
): { readonly tensor: string; readonly step: FoldStep }[] {
  const { wrapped } = adapter;
  if (wrapped === undefined) return [];
  return [...wrapped.modules.values()].flatMap((module) => {
    const found = parametersOf(base, wrapped, module, paths.toBase(module.path), adapter);
    const assigned = assign(module, found, wrapped, adapter);
    const kinds = kindsOf(assigned, config.model_type, adapter);
    return assigned.flatMap(({ parameter, factors, options }, index) =>
      parameter.places.map((place) => {
        const [a, b] = parameter.stored;
        const rows = place.outputs === undefined ? a : place.outputs.end - place.outputs.start;
        const info = { ...place.info, shape: [rows, b] };
        const fitted = fitModule(
          adapter,
          expertModule(adapter, parameter, place, factors, kinds[index], options),
          info,
          config.model_type,
        );
        const path = fitted.module.path;
        const layers = new Map([[path, fitted.layer]]);
        const step: FoldStep = {
          adapter,
          method: adapter.method,
          ...fitted,
          shared: new Map(),
          place: { path, layers, layersInOrder: () => layers },
          weight: { base, info: place.info },
          rows: place.rows,
        };
        return { tensor: place.info.name, step };
      }),
    );
  });
}

function parametersOf(
  base: Checkpoint,
  wrapped: WrappedParameters,
  module: WrappedModule,
  toBase: string,
  adapter: Adapter,
): BaseParameter[] {
  const names = [...new Set(wrapped.entries.map((entry) => entry.slice(entry.lastIndexOf(".") + 1)))];
  const found = names
    .filter((name) => wrapped.isTarget(`${module.path}.${name}`))
    .flatMap((name) => findParameter(base, toBase, module.path, name) ?? []);
  if (found.length === module.wrappers.length) return found;
  throw new LoomweightError({
    code: "UNKNOWN_TENSOR",
    problem: `the adapter changes ${module.wrappers.length} parameter${module.wrappers.length === 1 ? "" : "s"} of "${module.path}"; target_parameters and the base agree on ${found.length}`,
    file: adapter.location,
    tensor: module.wrappers[0].A.name,
    expected: `"${toBase}.<${names.join(" or ")}>" in ${base.location}, or a linear layer for each expert`,
    found: found.map(({ name }) => name).join(", ") || "none of them",
    fix: "The adapter belongs to another base model (or another way of storing it).",
  });
}

/** A parameter of the module as the base holds it: one tensor, or a layer for each expert. */
function findParameter(base: Checkpoint, toBase: string, path: string, name: string): BaseParameter | undefined {
  const full = `${path}.${name}`;
  for (const place of pathsInBase(toBase)) {
    const info = base.tensors.get(`${place}.${name}`);
    if (info?.shape.length === 3) {
      const [experts, a, b] = info.shape;
      const places = Array.from({ length: experts }, (_, expert) => ({
        info,
        expert,
        rows: { start: expert * a, end: (expert + 1) * a },
      }));
      return { name: full, experts, stored: [a, b], mayBeTransposed: true, places };
    }
    if (info?.shape.length === 2) {
      const [a, b] = info.shape;
      return { name: full, experts: 1, stored: [a, b], mayBeTransposed: false, places: [{ info, expert: 0 }] };
    }
    for (const layers of splitNames[name] ?? []) {
      const split = findSplit(base, place, layers);
      if (split !== undefined) return { name: full, ...split };
    }
  }
  return undefined;
}

function findSplit(
  base: Checkpoint,
  place: string,
  layers: readonly string[],
): Omit<BaseParameter, "name"> | undefined {
  const places: ExpertPlace[] = [];
  let stored: [number, number] | undefined;
  let experts = 0;
  for (; ; experts++) {
    const infos = layers.map((layer) => base.tensors.get(`${place}.${experts}.${layer}.weight`));
    if (!infos.every((info): info is TensorInfo => info?.shape.length === 2)) break;
    const width = infos[0].shape[1];
    let start = 0;
    for (const info of infos) {
      const end = start + info.shape[0];
      places.push({ info, expert: experts, outputs: { start, end } });
      start = end;
    }
    stored ??= [start, width];
    if (start !== stored[0] || infos.some(({ shape }) => shape[1] !== width) || width !== stored[1]) return undefined;
  }
  return stored === undefined ? undefined : { experts, stored, mayBeTransposed: false, places };
}

interface Assigned {
  readonly parameter: BaseParameter;
  readonly factors: WrappedFactors;
  readonly options: OptionValues<OptionSpecs>;
}

/** Which wrapper belongs to which parameter: by shape, and where several ways fit by the order of declaration. */
function assign(
  { path, wrappers }: WrappedModule,
  parameters: readonly BaseParameter[],
  wrapped: WrappedParameters,
  adapter: Adapter,
): Assigned[] {
  const ways = permutations(parameters).filter((way) =>
    way.every((parameter, level) => kindsOfFactors(parameter, wrappers[level]).length > 0),
  );
  const way = ways.length === 1 ? ways[0] : ways.find(isNestedInOrder);
  if (way !== undefined) {
    return way.map((parameter, level) => ({
      parameter,
      factors: wrappers[level],
      options: wrapped.optionsOf(parameter.name),
    }));
  }
  const shapes = wrappers.map(({ A, B }) => `A [${A.shape}], B [${B.shape}]`).join("; ");
  const known = parameters.map(
    ({ name, experts, stored }) => `${name.slice(path.length + 1)}: ${experts} of [${stored}]`,
  );
  throw new LoomweightError({
    code: ways.length === 0 ? "SHAPE_MISMATCH" : "AMBIGUOUS_ADAPTER",
    problem:
      ways.length === 0
        ? `the factors of the wrapped module "${path}" fit no parameter of the base`
        : `the factors of the wrapped module "${path}" fit its parameters in several ways, and the order in which it declares them is not known`,
    file: adapter.location,
    tensor: wrappers[0].A.name,
    expected: known.join("; "),
    found: shapes,
    fix: "The adapter belongs to a base model of another size, or its configuration was edited.",
  });
}

/** Parameters are given outermost first; the first that is declared is innermost. */
function isNestedInOrder(parameters: readonly BaseParameter[]): boolean {
  const names = parameters.map(({ name }) => name.slice(name.lastIndexOf(".") + 1)).reverse();
  return declared.some((order) =>
    names.every((name, i) => order.includes(name) && (i === 0 || order.indexOf(names[i - 1]) < order.indexOf(name))),
  );
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

type MatrixKind = Extract<LayerKind, "linear" | "transposedLinear">;

/** How the parameter must be stored for the factors to fit it; both where it is square. */
function kindsOfFactors({ experts, stored, mayBeTransposed }: BaseParameter, { A, B }: WrappedFactors): MatrixKind[] {
  if (A.shape.length !== 2 || B.shape.length !== 2) return [];
  if (A.shape[0] !== B.shape[1] || A.shape[0] % experts !== 0) return [];
  const kinds: MatrixKind[] = [];
  if (B.shape[0] === stored[0] && A.shape[1] === stored[1]) kinds.push("linear");
  if (mayBeTransposed && A.shape[1] === stored[0] && B.shape[0] === stored[1]) kinds.push("transposedLinear");
  return kinds;
}

/** One way of storing for a whole module: what one parameter says settles it for those that are square. */
function kindsOf(assigned: readonly Assigned[], modelType: unknown, adapter: Adapter): MatrixKind[] {
  const possible = assigned.map(({ parameter, factors }) => kindsOfFactors(parameter, factors));
  const settled = possible.find((kinds) => kinds.length === 1)?.[0];
  return possible.map((kinds, index) => {
    if (kinds.length === 1) return kinds[0];
    if (settled !== undefined) return settled;
    if (typeof modelType === "string") return transposedModels.includes(modelType) ? "transposedLinear" : "linear";
    const { parameter } = assigned[index];
    throw new LoomweightError({
      code: "AMBIGUOUS_ADAPTER",
      problem: `the experts of "${parameter.name}" are square: whether they are stored [in, out] depends on the model`,
      file: adapter.location,
      option: "model_type",
      expected: "the base's config.json with its model_type",
      found: "none",
    });
  });
}

/** One expert of a parameter as a module: its factors are parts of those that all experts share. */
function expertModule(
  adapter: Adapter,
  { name, experts }: BaseParameter,
  { expert, outputs }: ExpertPlace,
  { A, B }: WrappedFactors,
  kind: MatrixKind,
  options: OptionValues<OptionSpecs>,
): AdaptedModule {
  const rank = A.shape[0] / experts;
  const rows = outputs ?? { start: 0, end: B.shape[0] };
  const parts = new Map<string, ParamPart>([
    [
      "A",
      {
        shape: [rank, A.shape[1]],
        view: (stored) => window(stored, expert * rank * stored.stride[0], [rank, A.shape[1]], stored.stride),
      },
    ],
    [
      "B",
      {
        shape: [rows.end - rows.start, rank],
        view: (stored) =>
          window(
            stored,
            rows.start * stored.stride[0] + expert * stored.stride[1],
            [rows.end - rows.start, rank],
            [stored.stride[0], experts * stored.stride[1]],
          ),
      },
    ],
  ]);
  return {
    path: experts === 1 ? name : `${name}[${expert}]`,
    method: adapter.method,
    kind,
    options,
    params: new Map([
      ["A", A],
      ["B", B],
    ]),
    parts,
  };
}

function window(stored: Tensor, offset: number, shape: readonly number[], stride: readonly number[]): Tensor {
  return { ...stored, offset: stored.offset + offset, shape, stride: [...stride] };
}
