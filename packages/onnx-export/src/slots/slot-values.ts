import { type Adapter, type FoldBase, lowRankScale, planFold } from "@loomweight/adapters";
import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError, shapeMismatch, toFloat32, toFloat64 } from "@loomweight/tensor";
import type { AdapterSlots } from "./slots.ts";

/** What one adapter puts into one slot. */
export interface ModuleValues {
  readonly rank: number;
  /** [in, rank] */
  readonly A: Float32Array;
  /** [rank, out], scaling included. */
  readonly B: Float32Array;
  /** [out]; undefined: ones. */
  readonly scale?: Float32Array;
}

/** An adapter as slots take it; modules that it leaves alone are absent. */
export interface AdapterValues {
  /** For messages: where it came from. */
  readonly location: string;
  readonly modules: ReadonlyMap<string, ModuleValues>;
  readonly warnings: readonly string[];
}

export interface SlotValuesOptions {
  /** The weights that the export was made from: DoRA needs their norms. */
  readonly base?: FoldBase;
}

/**
 * Reads a LoRA or DoRA adapter for the slots of an export. Throws `NO_ADAPTER_SLOT` for targets that have none,
 * `SHAPE_MISMATCH` for an adapter of another base, `MISSING_BASE` for DoRA without `base`, `UNSUPPORTED_ADAPTER` for what
 * slots cannot hold (other methods, saved modules, biases), `NON_FINITE`.
 */
export async function slotValues(
  slots: AdapterSlots,
  adapter: Adapter,
  { base }: SlotValuesOptions = {},
): Promise<AdapterValues> {
  refuseUnfit(slots, adapter);
  const plan = planFold({ checkpoint: slotCheckpoint(slots) }, [adapter]);
  const dora = adapter.method.name === "dora";
  if (dora && base === undefined) {
    throw new LoomweightError({
      code: "MISSING_BASE",
      problem: "a DoRA adapter needs the norms of the base model's weights, which a graph does not give",
      file: adapter.location,
      option: "base",
      fix: "Give the folder that the export was made from, or load an .onnx_adapter file made with it.",
    });
  }
  const weights = dora && base !== undefined ? baseWeights(base, adapter) : undefined;
  const modules = new Map<string, ModuleValues>();
  for (const { name, operations } of plan.tensors.values()) {
    for (const operation of operations) {
      if (operation.kind !== "weight") throw unfit(adapter, "a bias of its own on the adapter's output (lora_bias)");
      const { module } = operation.step;
      const path = name.slice(0, -".weight".length);
      const slot = slots.modules[path];
      const { options } = module;
      const rank = options.rank as number;
      const A = await readFactor(adapter, module.params.get("A"), [rank, slot.in], path);
      const B = await readFactor(adapter, module.params.get("B"), [slot.out, rank], path);
      const scaling = lowRankScale(options as Parameters<typeof lowRankScale>[0]);
      const scaled = B.map((value) => value * scaling);
      const magnitude = module.params.get("magnitude");
      const weight = weights?.get(module.path);
      const scale =
        weight === undefined || magnitude === undefined
          ? undefined
          : doraScale(
              await readWeight(weight, [slot.out, slot.in]),
              { A, B: scaled, rank },
              await readFactor(adapter, magnitude, [slot.out], path),
            );
      modules.set(path, {
        rank,
        A: Float32Array.from(transposed(A, rank, slot.in)),
        B: Float32Array.from(transposed(scaled, slot.out, rank)),
        ...(scale === undefined ? {} : { scale }),
      });
    }
  }
  return { location: adapter.location, modules, warnings: adapter.warnings };
}

function refuseUnfit(slots: AdapterSlots, adapter: Adapter): void {
  if (adapter.wrapped !== undefined) throw unfit(adapter, "single parameters of modules (target_parameters)");
  const { method, replacements, modules } = adapter;
  if (method.name !== "lora" && method.name !== "dora") throw unfit(adapter, `the method ${method.name}`);
  const [replaced] = replacements.keys();
  if (replaced !== undefined) throw unfit(adapter, `whole tensors in place of the base's ("${replaced}")`);
  const [first] = Object.values(slots.modules);
  if (method.name === "dora" && first.scale === undefined)
    throw unfit(adapter, "DoRA's magnitudes", "with DoRA's row scales");
  // the leading parts of paths may differ: "transformer.h.0…" in the adapter is "h.0…" in a bare checkpoint
  const paths = Object.keys(slots.modules);
  const slotted = (path: string) =>
    paths.some((slot) => slot === path || slot.endsWith(`.${path}`) || path.endsWith(`.${slot}`));
  const missing = [...modules.keys()].filter((path) => !slotted(path));
  if (missing.length > 0) {
    const shown = missing.slice(0, 3).map((path) => `"${path}"`);
    throw new LoomweightError({
      code: "NO_ADAPTER_SLOT",
      problem: `the adapter changes ${missing.length} of its ${modules.size} modules where the export has no slot`,
      file: adapter.location,
      found: `${shown.join(", ")}${missing.length > shown.length ? ", …" : ""}`,
      expected: `layers such as "${paths[0]}"`,
      fix: "Export with slots for these layers, or fold the adapter into the model: embeddings, convolutions and tied heads have no slots.",
    });
  }
}

function unfit(adapter: Adapter, what: string, exportAgain?: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `an adapter slot cannot hold ${what}`,
    file: adapter.location,
    expected: "LoRA or DoRA of linear layers",
    fix:
      exportAgain === undefined
        ? "Fold the adapter into the model and export that."
        : `Export the model ${exportAgain}.`,
  });
}

/** The slots as a checkpoint of linear weights [out, in], of which only the shapes are asked. */
function slotCheckpoint(slots: AdapterSlots): Checkpoint {
  const location = "the export";
  const refuse = async (): Promise<never> => {
    throw new LoomweightError({ code: "INTERNAL", problem: "slots hold no weights" });
  };
  const tensors = new Map(
    Object.entries(slots.modules).map(([path, slot]): [string, TensorInfo] => {
      const name = `${path}.weight`;
      const shape = [slot.out, slot.in];
      return [
        name,
        { name, dtype: "float32", shape, byteLength: 4 * slot.out * slot.in, file: location, byteOffset: 0 },
      ];
    }),
  );
  return { location, tensors, metadata: {}, readBytes: refuse, read: refuse, close: async () => {} };
}

interface BaseWeight {
  readonly checkpoint: Checkpoint;
  readonly name: string;
  /** Stored [in, out]. */
  readonly transposed: boolean;
}

/** The base's weight of each adapted module, by the module's path in the adapter. */
function baseWeights(base: FoldBase, adapter: Adapter): Map<string, BaseWeight> {
  const found = new Map<string, BaseWeight>();
  for (const { name, operations } of planFold(base, [adapter]).tensors.values()) {
    for (const operation of operations) {
      if (operation.kind !== "weight") continue;
      const { module, layer } = operation.step;
      found.set(module.path, { checkpoint: base.checkpoint, name, transposed: layer.kind === "transposedLinear" });
    }
  }
  return found;
}

async function readWeight(weight: BaseWeight, [out, inner]: readonly [number, number]): Promise<Float64Array> {
  const tensor = await weight.checkpoint.read(weight.name);
  const shape = weight.transposed ? [inner, out] : [out, inner];
  if (tensor.shape.some((size, axis) => size !== shape[axis])) {
    throw shapeMismatch({
      tensor: weight.name,
      expected: { from: "the export's slot", shape },
      got: { from: weight.checkpoint.location, shape: tensor.shape },
      fix: "Give the model that the export was made from as base.",
    });
  }
  const values = toFloat64(tensor);
  return weight.transposed ? transposed(values, inner, out) : values;
}

async function readFactor(
  adapter: Adapter,
  info: TensorInfo | undefined,
  shape: readonly number[],
  path: string,
): Promise<Float64Array> {
  if (info === undefined) throw new LoomweightError({ code: "INTERNAL", problem: `no factor of "${path}"` });
  if (info.shape.length !== shape.length || info.shape.some((size, axis) => size !== shape[axis])) {
    throw shapeMismatch({
      where: adapter.location,
      tensor: info.name,
      expected: { from: `the slot of "${path}"`, shape },
      got: { from: info.file, shape: info.shape },
      fix: "The adapter belongs to another base model.",
    });
  }
  const tensor = await adapter.checkpoint.read(info.name);
  const values = toFloat64(tensor);
  const bad = toFloat32(tensor).findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return values;
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: "the adapter holds a value that is not a finite float32",
    file: info.file,
    tensor: info.name,
    found: `${values[bad]} at element ${bad}`,
    fix: "Its training diverged, or the file is damaged.",
  });
}

/** [rows, columns] row-major → [columns, rows]. */
function transposed(values: Float64Array, rows: number, columns: number): Float64Array {
  const result = new Float64Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column];
  }
  return result;
}

/** magnitude[o] / ‖W[o, :] + (B A)[o, :]‖, in float64 with one rounding; W [out, in], A [rank, in], B [out, rank]. */
function doraScale(
  weight: Float64Array,
  { A, B, rank }: { A: Float64Array; B: Float64Array; rank: number },
  magnitude: Float64Array,
): Float32Array {
  const inner = weight.length / magnitude.length;
  const row = new Float64Array(inner);
  return Float32Array.from(magnitude, (value, out) => {
    row.set(weight.subarray(out * inner, (out + 1) * inner));
    for (let k = 0; k < rank; k++) {
      const factor = B[out * rank + k];
      for (let i = 0; i < inner; i++) row[i] += factor * A[k * inner + i];
    }
    let squares = 0;
    for (const each of row) squares += each * each;
    // as folding clamps it: a row of zeros stays zero
    return value / Math.max(Math.sqrt(squares), 1e-12);
  });
}
