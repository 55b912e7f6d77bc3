import type { Adapter } from "@loomweight/adapters";
import { type Checkpoint, tensorFromBytes } from "@loomweight/checkpoint";
import { byteLengthOf, elementCount, LoomweightError, unknownName } from "@loomweight/tensor";
import { floatsOfForm } from "../reweight/forms.ts";
import { agreement, type ModulePath, packedPaths, pathOfName } from "../reweight/names.ts";
import type { WeightSlot } from "../reweight/slots.ts";

/** Rows of a weight of the graph, as a checkpoint would hold them. */
export interface ViewedWeight {
  readonly slot: WeightSlot;
  /** First row within the slot's weight: more than 0 in a packed one. */
  readonly start: number;
  /** [out, in], or as the slot has it. */
  readonly shape: readonly number[];
  /** Rows are columns of the slot's float form, which a product reads as [in, out]. */
  readonly transpose: boolean;
}

/** The weights of a graph under the names that an adapter's modules have. */
export interface WeightView {
  readonly checkpoint: Checkpoint;
  readonly weights: ReadonlyMap<string, ViewedWeight>;
  /** All values of a slot, row-major; those of the last few are kept. Not to be written to. */
  floats(slot: WeightSlot): Promise<Float32Array>;
}

/** Weights kept as floats at once: one that is read, and the next. */
const keptOpen = 2;

/**
 * A graph's weights as a checkpoint of float32 tensors named as the modules of `adapters`: read from the codes when they
 * are asked for (dequantized where they are quantized). Modules are found by the names of initializers and the scopes of
 * nodes; queries, keys and values, gate and up may lie in one product. What no adapter names goes by its own name.
 * Throws `AMBIGUOUS_WEIGHT` where two weights of the graph have a module's name.
 */
export function viewWeights(slots: readonly WeightSlot[], adapters: readonly Adapter[], location: string): WeightView {
  const weights = new Map<string, ViewedWeight>();
  const taken = new Set<WeightSlot>();
  const put = (name: string, weight: ViewedWeight) => {
    weights.set(name, weight);
    taken.add(weight.slot);
  };
  for (const adapter of adapters) {
    for (const { path } of adapter.modules.values()) {
      for (const name of [`${path}.weight`, `${path}.bias`]) {
        const slot = slotNamed(slots, pathOfName(name), location);
        if (slot !== undefined) put(name, wholeSlot(slot, name));
      }
      if (weights.has(`${path}.weight`)) continue;
      const packed = packedSlot(slots, path, adapter);
      if (packed !== undefined) put(`${path}.weight`, packed);
    }
  }
  for (const slot of slots) {
    const [path] = slot.paths;
    const name = [...path.modules, path.kind === "" ? "weight" : path.kind].join(".");
    if (!taken.has(slot) && !weights.has(name)) put(name, wholeSlot(slot, name));
  }
  const floats = floatsOfSlots();
  return { weights, floats, checkpoint: checkpointOf(weights, floats, location) };
}

/** The weight of the graph whose name or scope agrees best with a path; undefined where none does. */
function slotNamed(slots: readonly WeightSlot[], path: ModulePath, location: string): WeightSlot | undefined {
  let best = 0;
  let found: WeightSlot[] = [];
  for (const slot of slots) {
    const score = Math.max(0, ...slot.paths.map((each) => agreement(path, each)));
    if (score === 0 || score < best) continue;
    if (score > best) found = [];
    best = score;
    found.push(slot);
  }
  const fitting = path.kind === "weight" ? found.filter(({ form }) => form.shape.length > 1) : found;
  const named = fitting.length > 0 ? fitting : found;
  if (named.length <= 1) return named[0];
  throw new LoomweightError({
    code: "AMBIGUOUS_WEIGHT",
    problem: `several weights of the graph may be "${[...path.modules, path.kind].join(".")}"`,
    file: location,
    found: named
      .slice(0, 6)
      .map(({ name }) => name)
      .join(", "),
    fix: "Fold into the model before it is exported.",
  });
}

/** transformers' Conv1D is stored [in, out], as products read it. */
const conv1d = /(^|\.)(c_attn|c_proj|c_fc|q_attn)\.weight$/;

function wholeSlot(slot: WeightSlot, name: string): ViewedWeight {
  const { shape } = slot.form;
  const transpose = slot.inOut && shape.length === 2 && !conv1d.test(name);
  return { slot, start: 0, shape: transpose ? [shape[1], shape[0]] : shape, transpose };
}

/** A module whose weight is rows of a packed product; the rows of the others follow from it and the whole. */
function packedSlot(slots: readonly WeightSlot[], path: string, adapter: Adapter): ViewedWeight | undefined {
  const wanted = pathOfName(`${path}.weight`);
  for (const slot of slots) {
    for (const each of slot.paths) {
      for (const parts of packedPaths(each)) {
        const index = parts.findIndex((part) => agreement(wanted, part) > 0);
        if (index < 0 || slot.form.shape.length !== 2) continue;
        const [rows, width] = slot.inOut ? [slot.form.shape[1], slot.form.shape[0]] : slot.form.shape;
        const sizes = partSizes(parts, rows, adapter);
        if (sizes === undefined) continue;
        const start = sizes.slice(0, index).reduce((sum, size) => sum + size, 0);
        return { slot, start, shape: [sizes[index], width], transpose: slot.inOut };
      }
    }
  }
  return undefined;
}

/** Rows of each part: halves, or queries beside keys and values of one size, which one of them tells. */
function partSizes(parts: readonly ModulePath[], rows: number, adapter: Adapter): number[] | undefined {
  if (parts.length === 2) return [rows / 2, rows / 2];
  const known = parts.map((part) => outputsOf(part, adapter));
  const [q, k, v] = known;
  const keys = k ?? v ?? (q === undefined ? undefined : (rows - q) / 2);
  if (keys === undefined || !Number.isInteger(keys)) return undefined;
  const sizes = [rows - 2 * keys, keys, keys];
  return sizes.every((size, i) => size > 0 && (known[i] === undefined || known[i] === size)) ? sizes : undefined;
}

/** Outputs of a module as the adapter's factor B has them. */
function outputsOf(part: ModulePath, adapter: Adapter): number | undefined {
  for (const { path, params } of adapter.modules.values()) {
    if (agreement(pathOfName(`${path}.weight`), part) > 0) return params.get("B")?.shape[0];
  }
  return undefined;
}

function floatsOfSlots(): WeightView["floats"] {
  const opened = new Map<WeightSlot, Promise<Float32Array>>();
  return (slot) => {
    const known = opened.get(slot) ?? floatsOfForm(slot.form);
    opened.delete(slot);
    opened.set(slot, known);
    for (const each of [...opened.keys()].slice(0, -keptOpen)) opened.delete(each);
    return known;
  };
}

function checkpointOf(
  weights: ReadonlyMap<string, ViewedWeight>,
  floats: WeightView["floats"],
  location: string,
): Checkpoint {
  const tensors = new Map(
    [...weights].map(([name, { shape }]) => [
      name,
      {
        ...{ name, dtype: "float32" as const, shape, file: location, byteOffset: 0 },
        byteLength: byteLengthOf("float32", elementCount(shape)),
      },
    ]),
  );
  const readBytes: Checkpoint["readBytes"] = async (name, options = {}) => {
    const weight = weights.get(name);
    if (weight === undefined) {
      throw unknownName({ kind: "tensor", name, known: weights.keys(), code: "UNKNOWN_TENSOR", file: location });
    }
    const { slot, shape, start: firstRow, transpose } = weight;
    const { start = 0, end = byteLengthOf("float32", elementCount(shape)) } = options;
    const all = await floats(slot);
    const values = new Float32Array((end - start) / 4);
    const width = Math.max(1, elementCount(shape.slice(1)));
    const columns = slot.form.shape.at(-1) ?? 1;
    let [row, column] = [firstRow + Math.floor(start / 4 / width), (start / 4) % width];
    for (let i = 0; i < values.length; i++) {
      values[i] = all[transpose ? column * columns + row : row * width + column];
      if (++column === width) [row, column] = [row + 1, 0];
    }
    const bytes = new Uint8Array(values.buffer);
    if (options.into === undefined) return bytes;
    options.into.set(bytes);
    return options.into;
  };
  return {
    location,
    tensors,
    metadata: {},
    readBytes,
    async read(name, { range } = {}) {
      const shape = tensors.get(name)?.shape ?? [];
      const bounds = range ?? { start: 0, end: elementCount(shape) };
      const bytes = await readBytes(name, { start: bounds.start * 4, end: bounds.end * 4 });
      return tensorFromBytes("float32", range === undefined ? shape : [range.end - range.start], bytes);
    },
    async close() {
      // the graph is its opener's
    },
  };
}
