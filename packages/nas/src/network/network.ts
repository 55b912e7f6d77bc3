import type { Value } from "@loomweight/graph";
import type { Parameters } from "@loomweight/graph/nn";
import type { Decision } from "../space/choice.ts";
import type { Space } from "../space/space.ts";
import type { AttentionOptions } from "./attention.ts";

/**
 * A network of a space while it is built: one description of a model (a function of this) gives the mixture of all
 * networks, one network computed from the largest one's weights, and the extracted network alone.
 *
 * Layers that are linear in their weights need nothing special: `linear(network.weights, "fc", x)` and `convolution` of
 * @loomweight/graph/nn are exact with superposed weights, and so are activations with f(0) = 0 and batch
 * normalization. What is not linear in what it decides goes through the methods.
 */
export interface Network {
  readonly space: Space;
  /** Parameters by name: superposed ones of the largest shapes, or slices. A fused layer takes them as any other does. */
  readonly weights: Parameters;
  /** The chosen number where one network is built, the largest in a mixture. */
  size(decision: Decision | number): number;
  /**
   * Σ_j p_j candidate(choice_j): outputs of operations, or of candidate depths. All candidates have one shape. Where
   * one network is built, only its own is.
   */
  mix(decision: Decision, candidate: (choice: number, index: number) => Value): Value;
  /** x through block 0, 1, …: as many as decided; a mixture is one of what comes out behind each candidate depth. */
  stack(depth: Decision | number, x: Value, block: (x: Value, index: number) => Value): Value;
  /** Layer normalization over the decided width of the layer's weight: the last axis of x. */
  layerNorm(layer: string, x: Value, options?: { readonly epsilon?: number }): Value;
  /** The same without mean and bias. */
  rmsNorm(layer: string, x: Value, options?: { readonly epsilon?: number }): Value;
  /** Self-attention of q, k, v [batch, length, width], each already projected: [batch, length, width]. */
  attention(q: Value, k: Value, v: Value, options: AttentionOptions): Value;
}

/** A model over a space: outputs by name from inputs by name. */
export type NetworkModel = (
  network: Network,
  inputs: Readonly<Record<string, Value>>,
) => Readonly<Record<string, Value>>;
