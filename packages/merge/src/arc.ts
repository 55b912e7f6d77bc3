import { arcCosine, cosSin } from "@loomweight/kernels";

/**
 * Spherical interpolation of two vectors known by their inner products: the factors of the (unnormalised) first and
 * second vector at position `t`. Shoemake 1985.
 */
export interface ArcInput {
  /** ‖a‖, ‖b‖ and ⟨a, b⟩; norms already guarded against 0. */
  readonly norms: readonly [number, number];
  readonly product: number;
  readonly t: number;
  /** Whether an angle is too flat or too straight for an arc; a line is taken then. */
  readonly isLine: (cosine: number) => boolean;
}

/** [factor of the first, factor of the second]. */
export function arcFactors({ norms, product, t, isLine }: ArcInput): readonly [number, number] {
  const cosine = product / norms[0] / norms[1];
  if (isLine(cosine)) return [1 - t, t];
  const clamped = Math.max(-1, Math.min(1, cosine));
  const angle = arcCosine(clamped);
  const sine = sineOfCosine(clamped);
  return [cosSin((1 - t) * angle).sin / sine, cosSin(t * angle).sin / sine];
}

/** The sine of the angle in [0, π] that has this cosine. */
export const sineOfCosine = (cosine: number): number => Math.sqrt((1 - cosine) * (1 + cosine));
