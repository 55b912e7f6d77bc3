import { add, mul, type Value } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { zerosLike } from "./per-parameter.ts";

/** State of `heavyBall`: a buffer of zeros, none without momentum. */
export function initBuffer(parameter: Tensor, momentum: number): Record<string, Tensor> {
  return momentum === 0 ? {} : { momentum_buffer: zerosLike(parameter) };
}

/**
 * Momentum as torch's SGD has it: b ← momentum b + share g; the direction is b, with Nesterov g + momentum b. Without
 * `buffered` the direction is g. Momentum and share are scalars of the step: see `momentumScalars`.
 */
export function heavyBall(
  gradient: Value,
  state: Readonly<Record<string, Value>>,
  { momentum, share }: Readonly<Record<string, Value>>,
  { buffered, nesterov }: { readonly buffered: boolean; readonly nesterov: boolean },
): { direction: Value; state: Record<string, Value> } {
  if (!buffered) return { direction: gradient, state: {} };
  const buffer = add(mul(state.momentum_buffer, momentum), mul(gradient, share));
  const direction = nesterov ? add(gradient, mul(buffer, momentum)) : buffer;
  return { direction, state: { momentum_buffer: buffer } };
}

/** The scalars `heavyBall` takes; the first buffer is the gradient itself, whatever the dampening. */
export function momentumScalars(
  step: number,
  { momentum, dampening }: { readonly momentum: number; readonly dampening: number },
): { momentum: number; share: number } {
  return { momentum, share: step === 1 ? 1 : 1 - dampening };
}
