import { createRandom } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import type { Located, Place } from "./located.ts";
import { type ModelReference, readModelReference } from "./model-reference.ts";
import { noParameters } from "./parameters.ts";
import type { RecipeSlice } from "./parts.ts";
import { itemAt, list, requireKnownKeys, wrongKind } from "./read.ts";

/** A model whose every layer comes from one of several models, drawn at random. */
export interface LayerShuffle {
  readonly models: readonly { readonly model: ModelReference; readonly weight: number }[];
  /** Decides the drawing, whatever the seed of random methods; default 0. */
  readonly seed: number;
  /** Whether output layer i is layer i of some model (default), or layers change places too. */
  readonly keepOrder: boolean;
}

/**
 * Reads `layer_shuffle: { models: [{ model, weight: 1 }], seed: 0, keep_order: true }`. Throws `INVALID_RECIPE` with
 * line and column, also where the method is not `passthrough`.
 */
export function readShuffle(located: Located, method: AnyMergeMethod): LayerShuffle {
  if (method.name !== "passthrough") {
    throw new LoomweightError({
      code: "INVALID_RECIPE",
      problem: "layer_shuffle takes layers as they are",
      expected: "merge_method: passthrough",
      found: method.name,
      ...located.place,
    });
  }
  requireKnownKeys(located, "layer_shuffle", ["models", "seed", "keep_order"]);
  const entries = itemAt(located, "models");
  const items = entries === undefined ? [] : list(entries, "models");
  if (items.length === 0) throw wrongKind(entries ?? located, "models of layer_shuffle", "at least one");
  const seed = itemAt(located, "seed");
  if (seed !== undefined && !(Number.isSafeInteger(seed.value) && Number(seed.value) >= 0)) {
    throw wrongKind(seed, "seed", "a whole number, at least 0");
  }
  const order = itemAt(located, "keep_order");
  if (order !== undefined && typeof order.value !== "boolean") throw wrongKind(order, "keep_order", "true or false");
  return { models: items.map(readEntry), seed: Number(seed?.value ?? 0), keepOrder: order?.value !== false };
}

function readEntry(located: Located): LayerShuffle["models"][number] {
  requireKnownKeys(located, "model entry", ["model", "weight"]);
  const model = itemAt(located, "model");
  if (model === undefined) throw wrongKind(located, "an entry without model", "model: path");
  const weight = itemAt(located, "weight");
  if (
    weight !== undefined &&
    !(typeof weight.value === "number" && weight.value > 0 && Number.isFinite(weight.value))
  ) {
    throw wrongKind(weight, "weight", "a number above 0");
  }
  return { model: readModelReference(model), weight: Number(weight?.value ?? 1) };
}

/** The slices of a shuffle for models of `count` layers: the same ones for the same seed. */
export function drawLayers({ models, seed, keepOrder }: LayerShuffle, count: number, place: Place): RecipeSlice[] {
  const chosen = createRandom(seed, "layer_shuffle model");
  const total = models.reduce((sum, { weight }) => sum + weight, 0);
  const layers = keepOrder
    ? Array.from({ length: count }, (_, layer) => layer)
    : [...createRandom(seed, "layer_shuffle order").permutation(count)];
  return layers.map((layer, index): RecipeSlice => {
    let left = chosen.uniform(index) * total;
    const found =
      models.find(({ weight }) => {
        left -= weight;
        return left < 0;
      }) ?? models[models.length - 1]; // rounding may leave a remainder behind the last one
    const source = { model: found.model, layers: { start: layer, end: layer + 1, place }, parameters: noParameters };
    return { sources: [source], parameters: noParameters, place };
  });
}
