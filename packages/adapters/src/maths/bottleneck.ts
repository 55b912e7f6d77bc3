import { concat, gelu, layerNormalization, mul, relu, sigmoid, tanh, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { choice, invalidOption, type Tensor, zeros } from "@loomweight/tensor";
import type { AdapterRandom } from "../define.ts";

// What the adapters that squeeze activations through a narrow layer share: up( act( down(x) ) ).

export const activations = ["relu", "gelu", "geluTanh", "silu", "tanh", "identity"] as const;
export type Activation = (typeof activations)[number];

export const activationOption = (initial: Activation) =>
  choice(activations, initial, "between down and up; gelu is exact (erf), geluTanh its approximation by tanh");

/** Elementwise; `gelu` x Φ(x), `geluTanh` PyTorch's approximate="tanh" (BERT's gelu_new), `silu` x σ(x). */
export function activate(x: Value, activation: Activation): Value {
  switch (activation) {
    case "relu":
      return relu(x);
    case "gelu":
      return gelu(x);
    case "geluTanh":
      return gelu(x, "tanh");
    case "silu":
      return mul(x, sigmoid(x));
    case "tanh":
      return tanh(x);
    case "identity":
      return x;
  }
}

/** Tensors of one bottleneck; weights [out, in] as PyTorch's Linear. */
export interface Bottleneck<V extends Value = Value> {
  /** [bottleneck, width] */
  readonly down: V;
  /** [bottleneck] */
  readonly downBias: V;
  /** [width, bottleneck] */
  readonly up: V;
  /** [width] */
  readonly upBias: V;
}
export type BottleneckName = keyof Bottleneck;

/** Shapes for activations of `width` and `size` numbers in between. */
export function bottleneckShapes(width: number, size: number): Record<BottleneckName, readonly number[]> {
  return { down: [size, width], downBias: [size], up: [width, size], upBias: [width] };
}

/** up( drop( act( down(x) ) ) ): x [.., width] → [.., width]. */
export function bottleneck(
  x: Value,
  { down, downBias, up, upBias }: Bottleneck,
  activation: Activation,
  drop: (hidden: Value) => Value = (hidden) => hidden,
): Value {
  return linearOf(drop(activate(linearOf(x, down, downBias), activation)), up, upBias);
}

/** (x − mean) / √(variance + ε) · weight + bias over the last axis, as PyTorch's LayerNorm. */
export function normOf(x: Value, weight: Value, bias: Value, epsilon = 1e-5): Value {
  return layerNormalization(x, weight, bias, { epsilon, axis: -1 });
}

/** A factor moved into the up-projection: s · up(z) = up′(z). */
export function foldIntoUp<V extends Value>(tensors: Bottleneck<V>, scale: V | number): Bottleneck<V> {
  return { ...tensors, up: mul(tensors.up, scale) as V, upBias: mul(tensors.upBias, scale) as V };
}

/** Whether up and its bias are zero, so that the adapter can be left out of an exported model. */
export function isIdle({ up, upBias }: Bottleneck<Tensor>): boolean {
  return [up, upBias].every(({ data }) => (data as Float32Array).every((value) => Number(value) === 0));
}

/** down uniform in ±1/√width (Kaiming uniform with a = √5), the rest zero: starts as the identity. AdaptFormer's. */
export function kaimingBottleneck(random: AdapterRandom, width: number, size: number): Bottleneck<Tensor> {
  const bound = 1 / Math.sqrt(width);
  return { ...zeroBottleneck(width, size), down: random.uniform("down", [size, width], -bound, bound) };
}

/** down uniform in ±√(6 / (width + size)) (Xavier), the rest zero. AdapterTune's. */
export function xavierBottleneck(random: AdapterRandom, width: number, size: number): Bottleneck<Tensor> {
  const bound = Math.sqrt(6 / (width + size));
  return { ...zeroBottleneck(width, size), down: random.uniform("down", [size, width], -bound, bound) };
}

function zeroBottleneck(width: number, size: number): Bottleneck<Tensor> {
  const { down, downBias, up, upBias } = bottleneckShapes(width, size);
  return { down: zeros(down), downBias: zeros(downBias), up: zeros(up), upBias: zeros(upBias) };
}

/** The same function with a larger bottleneck: further rows of down and columns of up, all zero. Throws `INVALID_OPTION`. */
export function padBottleneck(tensors: Bottleneck<Tensor>, size: number): Bottleneck<Tensor> {
  const [own, width] = tensors.down.shape;
  if (size < own) throw invalidOption({ option: "size" }, size, `at least the ${own} that it has`);
  const { dtype } = tensors.down;
  return {
    down: concat([tensors.down, zeros([size - own, width], dtype)], 0),
    downBias: concat([tensors.downBias, zeros([size - own], dtype)], 0),
    up: concat([tensors.up, zeros([width, size - own], dtype)], 1),
    upBias: tensors.upBias,
  };
}
