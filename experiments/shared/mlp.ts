import { relu, type Value } from "@loomweight/graph";
import { initLinear, linear } from "@loomweight/graph/nn";
import { createRandom } from "@loomweight/tensor";
import type { Model, Weights } from "./fit.ts";

/** Sizes of the MLP of the cards: 16 × 16 digits, two hidden layers. */
export const sizes = [256, 128, 128, 10] as const;
export const hiddenLayers = ["fc1", "fc2"] as const;

export function initMlp(seed: number): Weights {
  const random = createRandom(seed, "mlp");
  return Object.assign(
    {},
    ...[...hiddenLayers, "head"].map((name, i) =>
      initLinear(random, name, { inputs: sizes[i], outputs: sizes[i + 1] }),
    ),
  ) as Weights;
}

/** What a layer computes, and what its neurons make of it. Default: the plain layer, ReLU. */
export interface MlpChange {
  readonly layer?: (name: string, x: Value) => Value | undefined;
  readonly neurons?: (name: string, z: Value) => Value | undefined;
}

export function mlpModel(change?: (weights: Parameters<Model>[0]) => MlpChange): Model {
  return (weights, image) => {
    const { layer, neurons } = change?.(weights) ?? {};
    let h = image;
    for (const name of hiddenLayers) {
      const z = layer?.(name, h) ?? linear(weights, name, h);
      h = neurons?.(name, z) ?? relu(z);
    }
    return layer?.("head", h) ?? linear(weights, "head", h);
  };
}
