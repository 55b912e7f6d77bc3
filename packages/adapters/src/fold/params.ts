import type { TensorInfo } from "@loomweight/checkpoint";
import type { KernelDType } from "@loomweight/kernels";
import { contiguousData, elementCount, fromData, isFloat, LoomweightError, type Tensor } from "@loomweight/tensor";
import { type ParamShape, paramShape } from "../define.ts";
import type { Adapter } from "../peft/adapter.ts";
import type { Codec } from "./codes.ts";
import type { FoldStep } from "./plan.ts";
import { asMatrix } from "./slice.ts";
import { needsBase } from "./unfold.ts";

export type LoadedParams = Readonly<Record<string, Tensor>>;

/** Everything that a method's functions get for one layer. */
export interface LayerParams {
  readonly params: LoadedParams;
  /** How each of them is sliced. */
  readonly shapes: Readonly<Record<string, ParamShape>>;
}

/** Reads tensors of adapters; what layers share is read once. */
export interface ParamReader {
  readonly codec: Codec;
  /** A shared tensor as float64. */
  shared(adapter: Adapter, info: TensorInfo): Promise<Tensor>;
  /** A tensor of which several modules hold a part: kept for the next few of them. */
  parted(adapter: Adapter, info: TensorInfo): Promise<Tensor>;
}

/** Tensors of parts kept at once: two factors of the two parameters that a layer's experts have. */
const keptParted = 6;

export function createParamReader(codec: Codec): ParamReader {
  const known = new Map<Adapter, Map<string, Promise<Tensor>>>();
  const parted: { readonly adapter: Adapter; readonly name: string; readonly tensor: Promise<Tensor> }[] = [];
  return {
    codec,
    shared(adapter, info) {
      const own = known.get(adapter) ?? new Map<string, Promise<Tensor>>();
      known.set(adapter, own);
      const reading = own.get(info.name) ?? readTensor(adapter, info, codec);
      own.set(info.name, reading);
      reading.catch(() => own.delete(info.name));
      return reading;
    },
    parted(adapter, info) {
      const at = parted.findIndex((each) => each.adapter === adapter && each.name === info.name);
      const found = at < 0 ? { adapter, name: info.name, tensor: readTensor(adapter, info, codec) } : parted[at];
      if (at >= 0) parted.splice(at, 1);
      parted.unshift(found);
      parted.splice(keptParted);
      found.tensor.catch(() => parted.splice(0)); // a tensor that failed is read again
      return found.tensor;
    },
  };
}

/**
 * Reads a module's parameters as float64 (whole numbers as int64) in their own shapes, the shared tensors that it uses,
 * and what its method prepares from them and from the whole base weight. Throws `NON_FINITE` naming the tensor.
 */
export async function loadParams(
  step: FoldStep,
  reader: ParamReader,
  { signal, undo = false }: { readonly signal?: AbortSignal; readonly undo?: boolean } = {},
): Promise<LayerParams> {
  const { adapter, layer, method, module, shared } = step;
  const own = Object.entries(step.shapes).map(async ([param, shape]) => {
    const info = module.params.get(param) as TensorInfo;
    const integer = Object.values(method.files.suffixes).some((each) => each.param === param && each.integer === true);
    const part = module.parts?.get(param);
    const read = await (part === undefined
      ? readTensor(adapter, info, reader.codec, signal)
      : reader.parted(adapter, info));
    const stored = integer && read.dtype !== "int64" ? wholeNumbers(read) : read; // Windows saves some as floats
    return [param, reshaped(part === undefined ? stored : part.view(stored), paramShape(shape, layer))] as const;
  });
  const common = [...shared].map(
    async ([param, info]) => [param, await reader.shared(adapter, info)] as readonly [string, Tensor],
  );
  const params: Record<string, Tensor> = Object.fromEntries(await Promise.all([...own, ...common]));
  const shapes: Record<string, ParamShape> = { ...step.shapes };
  for (const param of shared.keys()) shapes[param] = params[param].shape;
  if (method.prepare !== undefined) {
    const context = {
      ...step.place,
      weight: async () => {
        if (undo) throw needsBase(method, "it starts from the base's weight");
        return readWeight(step, reader.codec, signal);
      },
    };
    const made = await method.prepare(layer, { ...params }, module.options, context);
    const known = (method.prepared?.(layer, module.options) ?? {}) as Readonly<Record<string, ParamShape | undefined>>;
    for (const [name, value] of Object.entries(made)) {
      if (value === undefined) continue;
      params[name] = value;
      shapes[name] = known[name] ?? value.shape;
    }
  }
  return { params, shapes };
}

/** The whole weight of the base as [out, in]. */
async function readWeight(step: FoldStep, codec: Codec, signal?: AbortSignal): Promise<Tensor<"float64">> {
  const { base, info } = step.weight;
  const values = new Float64Array(elementCount(info.shape));
  codec.load(values, info.dtype as KernelDType, await base.readBytes(info.name, { signal }));
  const matrix = asMatrix(step.layer, values);
  return reshaped(matrix, matrix.shape) as Tensor<"float64">;
}

/** The same elements in row-major order under another shape. */
function reshaped(tensor: Tensor, shape: readonly number[]): Tensor {
  return tensor.dtype === "int64"
    ? fromData("int64", contiguousData(tensor) as BigInt64Array, shape)
    : fromData("float64", contiguousData(tensor) as Float64Array, shape);
}

async function readTensor(adapter: Adapter, info: TensorInfo, codec: Codec, signal?: AbortSignal): Promise<Tensor> {
  if (!isFloat(info.dtype)) return wholeNumbers(await adapter.checkpoint.read(info.name, { signal }));
  const bytes = await adapter.checkpoint.readBytes(info.name, { signal });
  const values = new Float64Array(elementCount(info.shape));
  codec.load(values, info.dtype as KernelDType, bytes);
  checkFinite(values, info);
  return fromData("float64", values, info.shape);
}

function wholeNumbers(tensor: Tensor): Tensor<"int64"> {
  const data = contiguousData(tensor) as Int32Array;
  return fromData(
    "int64",
    BigInt64Array.from(data, (value: number | bigint) =>
      typeof value === "bigint" ? value : BigInt(Math.round(value)),
    ),
    tensor.shape,
  );
}

function checkFinite(values: Float64Array, info: TensorInfo): void {
  let bad = 0;
  while (bad < values.length && Number.isFinite(values[bad])) bad++;
  if (bad === values.length) return;
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: "the adapter holds a value that is not a finite number",
    file: info.file,
    tensor: info.name,
    found: `${values[bad]} at element ${bad}`,
    fix: "Its training diverged, or the file is damaged.",
  });
}
