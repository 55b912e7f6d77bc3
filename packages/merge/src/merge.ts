import { createKernels, type KernelDType, type Kernels } from "@loomweight/kernels";
import {
  byteLengthOf,
  contiguousData,
  type DType,
  dtypeFacts,
  elementCount,
  fromData,
  isFloat,
  LoomweightError,
  type OptionSpecs,
  type OptionValues,
  parseOptions,
  type Storage,
  shapeMismatch,
  type Tensor,
} from "@loomweight/tensor";
import type { MergeMethod, MergeNeeds } from "./define.ts";
import { createEngine, type Engine, type TileSource } from "./lazy/engine.ts";
import { fromSource } from "./lazy/lazy-tensor.ts";
import { storeTensor } from "./lazy/store.ts";
import { outputDType } from "./output-dtype.ts";

/** Tensors in memory: one, or all of a model by name. */
export interface MergeModels<T> {
  /** The model that the others were fine-tuned from, for methods that take one. */
  readonly base?: T;
  readonly models: readonly T[];
  /** One per model; default 1 each. */
  readonly weights?: readonly number[];
}

/**
 * Options of a method, plus those of its models: one value for all, or a list with one per model. `seed` (0) serves
 * random methods, `dtype` the result (default: that of the base, or what the inputs promote to).
 */
export type MergeOptions<I extends OptionSpecs, O extends OptionSpecs> = Partial<OptionValues<O>> & {
  readonly [K in keyof OptionValues<I>]?: OptionValues<I>[K] | readonly OptionValues<I>[K][];
} & {
  readonly seed?: number;
  readonly dtype?: DType;
  readonly allowNonFinite?: boolean;
  /** Kernels to compute with; default fresh ones. */
  readonly kernels?: Kernels;
};

/**
 * Merges tensors in memory: `merge(ties, { base, models }, { density: 0.3 })`. Single tensors give a tensor, maps by
 * name give a map. Computed in float64 and rounded once. Throws `SHAPE_MISMATCH`, `MISSING_TENSOR`, `MODEL_COUNT`,
 * `MISSING_BASE`, `UNKNOWN_OPTION`, `INVALID_OPTION`, `NON_FINITE`, and what the method refuses.
 */
export async function merge<I extends OptionSpecs, O extends OptionSpecs, N extends MergeNeeds>(
  method: MergeMethod<I, O, N>,
  models: MergeModels<Tensor>,
  options?: MergeOptions<I, O>,
): Promise<Tensor>;
export async function merge<I extends OptionSpecs, O extends OptionSpecs, N extends MergeNeeds>(
  method: MergeMethod<I, O, N>,
  models: MergeModels<ReadonlyMap<string, Tensor>>,
  options?: MergeOptions<I, O>,
): Promise<Map<string, Tensor>>;
export async function merge<I extends OptionSpecs, O extends OptionSpecs, N extends MergeNeeds>(
  method: MergeMethod<I, O, N>,
  { base, models, weights }: MergeModels<Tensor | ReadonlyMap<string, Tensor>>,
  options: MergeOptions<I, O> = {} as MergeOptions<I, O>,
): Promise<Tensor | Map<string, Tensor>> {
  const { seed = 0, dtype, allowNonFinite, kernels = createKernels({ bytes: 48 * 2 ** 20 }), ...given } = options;
  const job: Job = {
    method: method as unknown as MergeMethod,
    ...splitOptions(method as unknown as MergeMethod, given, models.length, weights),
    engine: createEngine({ kernels, tileElements: 2 ** 17, streamBytes: 2 ** 23, residentBytes: 2 ** 24 }),
    seed,
    dtype,
    allowNonFinite,
  };
  refuseCounts(job, base !== undefined, models.length);
  const donor = base ?? models[0];
  if (!isTensorMap(donor)) return mergeOne(job, "", base as Tensor | undefined, models as readonly Tensor[]);
  const merged = new Map<string, Tensor>();
  for (const name of donor.keys()) {
    const tensorOf = (model: Tensor | ReadonlyMap<string, Tensor>, from: string): Tensor => {
      const tensor = isTensorMap(model) ? model.get(name) : undefined;
      if (tensor !== undefined) return tensor;
      throw new LoomweightError({ code: "MISSING_TENSOR", problem: `${from} has no such tensor`, tensor: name });
    };
    const ownBase = base === undefined ? undefined : tensorOf(base, "base");
    merged.set(
      name,
      await mergeOne(
        job,
        name,
        ownBase,
        models.map((model, index) => tensorOf(model, `models[${index}]`)),
      ),
    );
  }
  return merged;
}

interface Job {
  readonly method: MergeMethod;
  readonly ofMethod: OptionValues<OptionSpecs>;
  readonly ofInputs: readonly OptionValues<OptionSpecs>[];
  readonly engine: Engine;
  readonly seed: number;
  readonly dtype: DType | undefined;
  readonly allowNonFinite: boolean | undefined;
}

async function mergeOne(job: Job, name: string, base: Tensor | undefined, models: readonly Tensor[]): Promise<Tensor> {
  const { method, engine } = job;
  const isOrdinary = method.needs.base === "ordinary";
  const inputs = isOrdinary && base !== undefined ? [...models, base] : models;
  const all = base === undefined || isOrdinary ? inputs : [base, ...inputs];
  const shape = all[0].shape;
  all.forEach((tensor, index) => {
    if (!isFloat(tensor.dtype)) {
      throw new LoomweightError({
        code: "UNSUPPORTED_DTYPE",
        problem: "only floating-point tensors are merged",
        tensor: name,
        found: tensor.dtype,
      });
    }
    if (String(tensor.shape) !== String(shape)) {
      throw shapeMismatch({
        where: method.name,
        tensor: name,
        expected: { from: "the first", shape },
        got: { from: `tensor ${index}`, shape: tensor.shape },
      });
    }
  });
  const lazy = (tensor: Tensor, label: string) => fromSource(tensorSource(tensor, name, label), engine);
  try {
    const merged = await method.merge(
      {
        base: base === undefined || isOrdinary ? undefined : lazy(base, "base"),
        models: inputs.map((tensor, index) => ({
          tensor: lazy(tensor, `models[${index}]`),
          options: job.ofInputs[index],
          name: `models[${index}]`,
          index,
        })),
        // The counts were checked: a method that needs a base has one.
      } as Parameters<MergeMethod["merge"]>[0],
      job.ofMethod,
      { tensor: name, seed: job.seed },
    );
    const dtype =
      job.dtype ??
      outputDType(
        method.needs,
        all.map((tensor) => tensor.dtype),
      );
    return await materialize(merged, dtype, shape, name, job.allowNonFinite);
  } finally {
    engine.reset();
  }
}

async function materialize(
  tensor: Parameters<typeof storeTensor>[0],
  dtype: DType,
  shape: readonly number[],
  name: string,
  allowNonFinite: boolean | undefined,
): Promise<Tensor> {
  const bytes = new Uint8Array(byteLengthOf(dtype, elementCount(shape)));
  await storeTensor(tensor, {
    dtype: dtype as KernelDType,
    name,
    allowNonFinite,
    write: async (start, part) => bytes.set(part, start),
  });
  const array = dtypeFacts[dtype].array as new (buffer: ArrayBuffer, offset: number, length: number) => ArrayBufferView;
  return fromData(dtype, new array(bytes.buffer, 0, elementCount(shape)) as Storage, shape);
}

/** A tensor in memory as a tile source. */
export function tensorSource(tensor: Tensor, name: string, model: string): TileSource {
  const data = contiguousData(tensor) as unknown as ArrayBufferView;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const elementBytes = byteLengthOf(tensor.dtype, 1);
  return {
    name,
    model,
    dtype: tensor.dtype as KernelDType,
    shape: tensor.shape,
    size: elementCount(tensor.shape),
    elementBytes,
    read: async (start, end, into) => into.set(bytes.subarray(start * elementBytes, end * elementBytes)),
  };
}

function splitOptions(
  method: MergeMethod,
  given: Readonly<Record<string, unknown>>,
  count: number,
  weights: readonly number[] | undefined,
): Pick<Job, "ofMethod" | "ofInputs"> {
  const own = (name: string) => Object.hasOwn(method.inputOptions, name);
  const entries = Object.entries(given);
  // Unknown names are reported together with the method's own.
  const ofMethod = parseOptions(
    method.options,
    Object.fromEntries(entries.filter(([name]) => !own(name))),
    method.name,
  );
  const lists: [string, unknown][] = entries.filter(([name]) => own(name));
  if (own("weight") && given.weight === undefined) lists.push(["weight", weights ?? 1]);
  for (const [name, value] of lists) {
    if (!Array.isArray(value) || value.length === count) continue;
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "one value per model is needed",
      option: `${method.name}.${name}`,
      expected: String(count),
      found: String(value.length),
    });
  }
  // A base that counts as one of the models (after the others) takes the options of a single value.
  const ofInputs = Array.from({ length: count + 1 }, (_, index) =>
    parseOptions(
      method.inputOptions,
      Object.fromEntries(lists.map(([name, value]) => [name, Array.isArray(value) ? (value[index] ?? 1) : value])),
      method.name,
    ),
  );
  return { ofMethod, ofInputs };
}

function refuseCounts({ method }: Job, hasBase: boolean, count: number): void {
  const { base, models } = method.needs;
  if (base === "required" && !hasBase) {
    throw new LoomweightError({
      code: "MISSING_BASE",
      problem: `${method.name} needs a base`,
      fix: "Pass { base, models }.",
    });
  }
  const total = base === "ordinary" && hasBase ? count + 1 : count;
  if (total >= models.min && total <= (models.max ?? Number.POSITIVE_INFINITY) && (hasBase || count > 0)) return;
  throw new LoomweightError({
    code: "MODEL_COUNT",
    problem: `${method.name} does not merge that many models`,
    expected: models.max === undefined ? `at least ${models.min}` : `${models.min} to ${models.max}`,
    found: String(total),
  });
}

function isTensorMap(value: Tensor | ReadonlyMap<string, Tensor>): value is ReadonlyMap<string, Tensor> {
  return value instanceof Map;
}
