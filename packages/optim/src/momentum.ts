import { add, mul, type Value } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { zerosLike } from "./per-parameter.ts";

/** State of `heavyBall`: a buffer of zeros, none without momentum. */
export function initBuffer(parameter: Tensor, momentum: number): Record<string, Tensor> {
  return momentum === 0 ? {} : { momentum_buffer: zerosLike(parameter) };
}

/**
 * Momentum as torch's SGD has it: b ← momentum b + share g; the direction is b, with Nesterov g + momentum b, without
 * momentum g. `share` is a scalar: 1 at the first step, 1 − dampening afterwards (see `bufferShare`).
 */
export function heavyBall(
  gradient: Value,
  state: Readonly<Record<string, Value>>,
  share: Value,
  { momentum, nesterov }: { readonly momentum: number; readonly nesterov: boolean },
): { direction: Value; state: Record<string, Value> } {
  if (momentum === 0) return { direction: gradient, state: {} };
  const buffer = add(mul(state.momentum_buffer, momentum), mul(gradient, share));
  const direction = nesterov ? add(gradient, mul(buffer, momentum)) : buffer;
  return { direction, state: { momentum_buffer: buffer } };
}

/** Share of the gradient that enters the buffer: the first buffer is the gradient itself. */
export function bufferShare(step: number, dampening: number): number {
  return step === 1 ? 1 : 1 - dampening;
}
