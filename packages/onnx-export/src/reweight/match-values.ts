import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { cast, elementCount, isFloat, toFloat32 } from "@loomweight/tensor";
import { type Sample, samplesOf } from "./forms.ts";
import { type Recipe, type RowRange, rowCount } from "./recipe.ts";
import type { WeightSlot } from "./slots.ts";

/** Elements that are compared in a row. */
const sampledColumns = 64;

/** Values of a checkpoint, some rows of each tensor at a time. */
export interface ValueIndex {
  readonly checkpoint: Checkpoint;
  /** Tensors by the length of their rows. */
  readonly byWidth: ReadonlyMap<number, readonly TensorInfo[]>;
  /** Sampled elements of a row. */
  row(info: TensorInfo, width: number, at: number): Promise<Float32Array>;
  /** Rows `width` long by the key of their values in `dtype`, those of all tensors. */
  rowsByKey(width: number, dtype: "float32" | "float16" | "bfloat16"): Promise<ReadonlyMap<string, RowPlace[]>>;
}

export interface RowPlace {
  readonly tensor: string;
  readonly row: number;
}

export function indexValues(checkpoint: Checkpoint): ValueIndex {
  const byWidth = new Map<number, TensorInfo[]>();
  for (const info of checkpoint.tensors.values()) {
    if (!isFloat(info.dtype) || elementCount(info.shape) === 0) continue;
    for (const width of widthsOf(info.shape)) {
      const list = byWidth.get(width);
      if (list === undefined) byWidth.set(width, [info]);
      else list.push(info);
    }
  }
  const rows = new Map<string, Promise<Float32Array>>();
  const keyed = new Map<string, Promise<Map<string, RowPlace[]>>>();
  return {
    checkpoint,
    byWidth,
    row(info, width, at) {
      const key = `${at} ${width} ${info.name}`;
      const known = rows.get(key);
      if (known !== undefined) return known;
      const read = checkpoint
        .read(info.name, { range: { start: at * width, end: (at + 1) * width } })
        .then((tensor) => pick(toFloat32(tensor), sampleColumns(width)));
      rows.set(key, read);
      return read;
    },
    rowsByKey(width, dtype) {
      const known = keyed.get(`${dtype} ${width}`);
      const made = known ?? keyRows(checkpoint, byWidth.get(width) ?? [], width, dtype);
      keyed.set(`${dtype} ${width}`, made);
      return made;
    },
  };
}

/** The row lengths by which a tensor can be cut: along its first axis, along all but its last. */
function widthsOf(shape: readonly number[]): Set<number> {
  if (shape.length < 2) return new Set([1]);
  return new Set([elementCount(shape.slice(1)), shape[shape.length - 1]]);
}

function sampleColumns(width: number): Int32Array {
  const count = Math.min(width, sampledColumns);
  return Int32Array.from({ length: count }, (_, i) => Math.floor((i * width) / count));
}

/** Fewer for keys, as there is one for each row of a model. */
function keyColumns(width: number): Int32Array {
  const count = Math.min(width, 16);
  return Int32Array.from({ length: count }, (_, i) => Math.floor((i * width) / count));
}

function pick(values: Float32Array, columns: Int32Array): Float32Array {
  return Float32Array.from(columns, (column) => values[column]);
}

/** A weight seen as a matrix of rows: the element (row, column) stands at the place that `place` gives. */
interface View {
  readonly height: number;
  readonly width: number;
  readonly transpose: boolean;
  readonly sample: Sample;
  place(row: number, column: number): number;
}

/** The ways in which a weight can be cut into rows, likeliest first. */
function viewsOf(slot: WeightSlot, sample: Sample): View[] {
  const { shape } = slot.form;
  const count = elementCount(shape);
  const straight = (width: number): View => ({
    height: count / width,
    width,
    transpose: false,
    sample,
    place: (row, column) => row * width + column,
  });
  const sizes = shape.filter((size) => size !== 1);
  if (sizes.length < 2) return [{ ...straight(1), height: count }, ...(shape.length > 1 ? [straight(count)] : [])];
  const views = [straight(elementCount(shape.slice(1))), straight(shape[shape.length - 1])];
  const distinct = views[0].width === views[1].width ? [views[0]] : views;
  if (sizes.length > 2) return distinct;
  const [rows, columns] = sizes;
  const turned: View = {
    height: columns,
    width: rows,
    transpose: true,
    sample,
    place: (row, column) => column * columns + row,
  };
  return slot.inOut ? [turned, ...distinct] : [...distinct, turned];
}

/** Whether two lists of values agree, and by what factor and offset the second becomes the first. */
interface Agreement {
  readonly scale: number;
  readonly offset: number;
}

function agree(slot: WeightSlot, found: Float32Array, base: Float32Array): Agreement | undefined {
  const { exact, dtype } = slot.form;
  if (!exact) return cosine(found, base) >= 0.9 ? { scale: 1, offset: 0 } : undefined;
  const tolerance = dtype === "float16" ? 1e-3 : dtype === "bfloat16" ? 1e-2 : 1e-6;
  // the smallest steps of float16 are 2^-24 apart
  const least = dtype === "float16" ? 6e-5 : 1e-30;
  const close = (scale: number, offset: number) =>
    found.every((value, i) => {
      const expected = base[i] * scale + offset;
      return Math.abs(value - expected) <= tolerance * Math.max(Math.abs(expected), Math.abs(offset), least);
    });
  if (close(1, 0)) return { scale: 1, offset: 0 };
  if (base.every((value) => value === base[0])) return undefined; // a constant is a multiple of every constant
  if (close(1, 1)) return { scale: 1, offset: 1 }; // norms that multiply by 1 + weight, folded
  if (found.length < 4 || Math.abs(cosine(found, base)) < 1 - tolerance) return undefined;
  let [above, below] = [0, 0];
  for (let i = 0; i < found.length; i++) {
    above += found[i] * base[i];
    below += base[i] * base[i];
  }
  const scale = Math.fround(above / below);
  return Number.isFinite(scale) && scale !== 0 && close(scale, 0) ? { scale, offset: 0 } : undefined;
}

/** NaN (nothing agrees) where one of them is all zeros and the other is not; 1 where both are. */
function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa === 0 && bb === 0 ? 1 : ab / Math.sqrt(aa * bb);
}

/**
 * The recipes whose result on the base checkpoint is the weight as it stands in the graph: whole tensors, tensors
 * below each other (packed q, k and v), a part of a packed one, and where it holds floats runs of rows from anywhere. Several are equal copies.
 */
export async function recipesByValue(slot: WeightSlot, index: ValueIndex): Promise<Recipe[]> {
  const sample = await samplesOf(slot.form);
  const found: Recipe[] = [];
  for (const view of viewsOf(slot, sample)) {
    for (const info of index.byWidth.get(view.width) ?? []) {
      const match = await tensorAt(slot, view, 0, info, index);
      if (match === undefined || rowCount(info.shape, view.width) !== view.height) continue;
      found.push(recipeOf(slot, view, [{ tensor: info.name, start: 0, count: view.height }], match));
    }
    if (found.length > 0) return found;
  }
  for (const view of viewsOf(slot, sample)) {
    const joined =
      (await joinedTensors(slot, view, index)) ??
      (slot.form.exact ? await scatteredRows(slot, view, index) : await cutOf(slot, view, index));
    if (joined !== undefined) return [joined];
  }
  return [];
}

/** Whether a recipe gives, on the base checkpoint, what the weight holds; with the factor and offset that it takes. */
export async function checkRecipe(slot: WeightSlot, recipe: Recipe, index: ValueIndex): Promise<Recipe | undefined> {
  const sample = await samplesOf(slot.form);
  const height = recipe.rows.reduce((sum, { count }) => sum + count, 0);
  const { width, transpose } = recipe;
  const place = (row: number, column: number) => (transpose ? column * height + row : row * width + column);
  let [at, match]: [number, Agreement | undefined] = [0, undefined];
  for (const { tensor, start, count } of recipe.rows) {
    const info = index.checkpoint.tensors.get(tensor);
    if (info === undefined) return undefined;
    match = await tensorAt(slot, { height, width, transpose, sample, place }, at, info, index, { start, count });
    if (match === undefined) return undefined;
    at += count;
  }
  return match && { ...recipe, ...match };
}

/**
 * Whether the rows of a view from `start` on are a whole tensor, or the given rows of one: some of its rows are compared,
 * or a vector's elements.
 */
async function tensorAt(
  slot: WeightSlot,
  view: View,
  start: number,
  info: TensorInfo,
  index: ValueIndex,
  part: { readonly start: number; readonly count: number } = { start: 0, count: rowCount(info.shape, view.width) },
): Promise<Agreement | undefined> {
  const { width } = view;
  const rows = part.count;
  if (start + rows > view.height) return undefined;
  if (width === 1 && part.start === 0 && rows === rowCount(info.shape, 1)) {
    const places = sampleColumns(rows);
    const base = await index.row(info, rows, 0);
    const found = await view.sample(Float64Array.from(places, (place) => view.place(start + place, 0)));
    return agree(slot, found, base);
  }
  const columns = sampleColumns(width);
  const found: number[] = [];
  const base: number[] = [];
  for (const row of new Set([0, Math.floor(rows / 3), Math.floor(rows / 2), rows - 1])) {
    base.push(...(await index.row(info, width, part.start + row)));
    found.push(...(await view.sample(Array.from(columns, (column) => view.place(start + row, column)))));
    if (row === 0 && slot.form.exact && agree(slot, Float32Array.from(found), Float32Array.from(base)) === undefined) {
      return undefined;
    }
  }
  return agree(slot, Float32Array.from(found), Float32Array.from(base));
}

async function joinedTensors(slot: WeightSlot, view: View, index: ValueIndex): Promise<Recipe | undefined> {
  const rows: RowRange[] = [];
  let match: Agreement | undefined;
  for (let at = 0; at < view.height; ) {
    let best: RowRange | undefined;
    for (const info of index.byWidth.get(view.width) ?? []) {
      const count = rowCount(info.shape, view.width);
      if (best !== undefined && best.count >= count) continue;
      const found = await tensorAt(slot, view, at, info, index);
      if (found === undefined) continue;
      if (match !== undefined && (found.scale !== match.scale || found.offset !== match.offset)) continue;
      best = { tensor: info.name, start: 0, count };
      match = found;
    }
    if (best === undefined) return undefined;
    rows.push(best);
    at += best.count;
  }
  return match && recipeOf(slot, view, rows, match);
}

/**
 * A quantized weight that is a run of rows of one tensor: of a packed one, whose parts are equally long or end it as k
 * and v do. Where that is elsewhere the weight stays unfound.
 */
async function cutOf(slot: WeightSlot, view: View, index: ValueIndex): Promise<Recipe | undefined> {
  const { height, width } = view;
  if (width < 2) return undefined;
  const found: Recipe[] = [];
  for (const info of index.byWidth.get(width) ?? []) {
    const rows = rowCount(info.shape, width);
    if (rows <= height || !slot.paths.some(({ kind }) => kind === "" || info.name.endsWith(`.${kind}`))) continue;
    for (const start of new Set([0, height, 2 * height, rows - 2 * height, rows - height])) {
      if (start < 0 || start + height > rows) continue;
      const part = { start, count: height };
      const match = await tensorAt(slot, view, 0, info, index, part);
      if (match !== undefined) found.push(recipeOf(slot, view, [{ tensor: info.name, ...part }], match));
    }
  }
  return found.length === 1 ? found[0] : undefined;
}

/** Each row found by its values among the rows of all tensors: slices, and rows in another order. */
async function scatteredRows(slot: WeightSlot, view: View, index: ValueIndex): Promise<Recipe | undefined> {
  const { dtype, exact } = slot.form;
  if (!exact || view.width < 2) return undefined;
  if (dtype !== "float32" && dtype !== "float16" && dtype !== "bfloat16") return undefined;
  const places = await index.rowsByKey(view.width, dtype);
  const columns = keyColumns(view.width);
  const rows: { tensor: string; start: number; count: number }[] = [];
  const batch = Math.max(1, Math.floor(2 ** 20 / view.width));
  for (let top = 0; top < view.height; top += batch) {
    const count = Math.min(batch, view.height - top);
    const sampled = await view.sample(
      Float64Array.from({ length: count * columns.length }, (_, i) =>
        view.place(top + Math.floor(i / columns.length), columns[i % columns.length]),
      ),
    );
    for (let at = 0; at < sampled.length; at += columns.length) {
      const candidates = places.get(keyOf(sampled.subarray(at, at + columns.length)));
      if (candidates === undefined) return undefined;
      const last = rows.at(-1);
      const follows =
        last && candidates.find((each) => each.tensor === last.tensor && each.row === last.start + last.count);
      if (last !== undefined && follows !== undefined) last.count++;
      else rows.push({ tensor: candidates[0].tensor, start: candidates[0].row, count: 1 });
    }
  }
  return recipeOf(slot, view, rows, { scale: 1, offset: 0 });
}

function recipeOf(slot: WeightSlot, view: View, rows: readonly RowRange[], { scale, offset }: Agreement): Recipe {
  return { rows, width: view.width, transpose: view.transpose, scale, offset, shape: slot.form.shape };
}

async function keyRows(
  checkpoint: Checkpoint,
  infos: readonly TensorInfo[],
  width: number,
  dtype: "float32" | "float16" | "bfloat16",
): Promise<Map<string, RowPlace[]>> {
  const keys = new Map<string, RowPlace[]>();
  const columns = keyColumns(width);
  const chunk = Math.max(1, Math.floor(2 ** 20 / width));
  for (const { name, shape } of infos) {
    const rows = rowCount(shape, width);
    for (let first = 0; first < rows; first += chunk) {
      const last = Math.min(rows, first + chunk);
      const tensor = await checkpoint.read(name, { range: { start: first * width, end: last * width } });
      const values = toFloat32(dtype === tensor.dtype ? tensor : cast(tensor, dtype));
      for (let row = first; row < last; row++) {
        const key = keyOf(pick(values.subarray((row - first) * width, (row - first + 1) * width), columns));
        const list = keys.get(key);
        if (list === undefined) keys.set(key, [{ tensor: name, row }]);
        else list.push({ tensor: name, row });
      }
    }
  }
  return keys;
}

function keyOf(values: Float32Array): string {
  const plain = values.map((value) => value + 0); // −0 is 0
  return String.fromCharCode(...new Uint16Array(plain.buffer));
}
