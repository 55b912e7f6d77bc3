import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { elementCount } from "@loomweight/tensor";
import { agreement, isTableOrHead, type ModulePath, outerBias, packedPaths, packOf, pathOfName } from "./names.ts";
import { type Recipe, rowCount, sameShape } from "./recipe.ts";
import type { WeightSlot } from "./slots.ts";

/** Tensors of a checkpoint by what their names say. */
export interface NameIndex {
  /** Tensors that agree best with one of the paths, best first; the names of initializers count more than scopes. */
  find(paths: readonly ModulePath[]): TensorInfo[];
  /** Tables and heads, which a model that ties them stores once. */
  readonly tied: readonly TensorInfo[];
}

export function indexNames(checkpoint: Checkpoint): NameIndex {
  const byModule = new Map<string, { info: TensorInfo; path: ModulePath }[]>();
  for (const info of checkpoint.tensors.values()) {
    const path = pathOfName(info.name);
    const last = path.modules.at(-1) ?? "";
    const list = byModule.get(last);
    if (list === undefined) byModule.set(last, [{ info, path }]);
    else list.push({ info, path });
  }
  return {
    tied: [...checkpoint.tensors.values()].filter(({ name }) => isTableOrHead(pathOfName(name))),
    find(paths) {
      for (const path of paths) {
        const scored = (byModule.get(path.modules.at(-1) ?? "") ?? [])
          .map(({ info, path: own }) => ({ info, score: agreement(path, own) }))
          .filter(({ score }) => score > 0)
          .sort((a, b) => b.score - a.score);
        if (scored.length > 0) return scored.filter(({ score }) => score === scored[0].score).map(({ info }) => info);
      }
      return [];
    },
  };
}

/**
 * The recipes that names and shapes allow for a weight, likeliest first: a tensor of its name or scope (as it is,
 * transposed, with other axes of 1), the parts of a packed one below each other, or a part of a packed tensor.
 */
export function recipesByName(slot: WeightSlot, names: NameIndex): Recipe[] {
  const single = names.find(slot.paths).flatMap((info) => wholeRecipes(slot, info));
  if (single.length > 0) return single;
  for (const path of slot.paths) {
    for (const parts of packedPaths(path)) {
      const infos = parts.map((part) => names.find([part]));
      if (infos.some((found) => found.length !== 1)) continue;
      const recipe = joinedRecipe(slot, infos.flat());
      if (recipe !== undefined) return [recipe];
    }
  }
  for (const path of slot.paths) {
    const pack = packOf(path);
    const [info, ...others] = pack === undefined ? [] : names.find([pack.path]);
    const recipe = info === undefined || others.length > 0 ? undefined : cutRecipe(slot, info, pack?.fromEnd);
    if (recipe !== undefined) return [recipe];
  }
  const outer = names.find(slot.paths.flatMap((path) => outerBias(path) ?? []));
  const tied = slot.paths.some(isTableOrHead) && names.tied.length === 1 ? names.tied : [];
  return [...outer, ...tied].flatMap((info) => wholeRecipes(slot, info));
}

/** A whole tensor in the weight's shape: turned where a product reads it so, else as it lies; [] where no shape fits. */
export function wholeRecipes(slot: WeightSlot, { name, shape }: TensorInfo): Recipe[] {
  const wanted = slot.form.shape;
  if (elementCount(wanted) !== elementCount(shape) || elementCount(shape) === 0) return [];
  const width = shape.length === 1 ? 1 : elementCount(shape.slice(1));
  const rows = [{ tensor: name, start: 0, count: rowCount(shape, width) }];
  const plain = { rows, width, scale: 1, offset: 0, shape: wanted };
  const [a, b] = [shape.filter((size) => size !== 1), wanted.filter((size) => size !== 1)];
  const same = sameShape(a, b);
  const turned = a.length === 2 && sameShape([a[1], a[0]], b) && shape.length === 2;
  // transformers' Conv1D stores [in, out], as products read it
  const transposes = slot.inOut && !/\.(c_attn|c_proj|c_fc|q_attn)\.weight$/.test(name);
  const straight = same ? [{ ...plain, transpose: false }] : [];
  const reversed = turned ? [{ ...plain, transpose: true }] : [];
  return transposes ? [...reversed, ...straight] : [...straight, ...reversed];
}

/** Whole tensors one below the other. */
export function joinedRecipe(slot: WeightSlot, infos: readonly TensorInfo[]): Recipe | undefined {
  const [first] = infos;
  const width = first.shape.length === 1 ? 1 : elementCount(first.shape.slice(1));
  if (infos.some(({ shape }) => !sameShape(shape.slice(1), first.shape.slice(1)))) return undefined;
  const rows = infos.map(({ name, shape }) => ({ tensor: name, start: 0, count: shape[0] }));
  const height = rows.reduce((sum, { count }) => sum + count, 0);
  const wanted = slot.form.shape.filter((size) => size !== 1);
  const lying = width === 1 ? [height] : [height, width];
  const plain = { rows, width, scale: 1, offset: 0, shape: slot.form.shape };
  if (slot.inOut && sameShape(wanted, [width, height])) return { ...plain, transpose: true };
  if (sameShape(wanted, lying)) return { ...plain, transpose: false };
  return sameShape(wanted, [width, height]) ? { ...plain, transpose: true } : undefined;
}

/** Rows of a packed tensor [rows, width] as a product reads them, [width, height]; or as they lie. */
function cutRecipe(slot: WeightSlot, { name, shape }: TensorInfo, fromEnd: number | undefined): Recipe | undefined {
  const width = elementCount(shape.slice(1));
  const wanted = slot.form.shape;
  const height = elementCount(wanted) / width;
  const start = fromEnd === undefined ? 0 : shape[0] - fromEnd * height;
  if (!Number.isInteger(height) || start < 0 || start + height > shape[0] || height === shape[0]) return undefined;
  const transpose = shape.length === 2 && slot.inOut;
  if (
    shape.length > 2 ||
    !sameShape(wanted, shape.length === 1 ? [height] : transpose ? [width, height] : [height, width])
  )
    return undefined;
  const rows = [{ tensor: name, start, count: height }];
  return { rows, width, transpose, scale: 1, offset: 0, shape: wanted };
}
