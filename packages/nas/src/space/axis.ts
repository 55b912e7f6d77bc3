import { LoomweightError } from "@loomweight/tensor";
import { type Decision, largest } from "./choice.ts";

/** A size that is fixed, decided, or a product of such: ratio · width, heads · size. */
export type Size = number | Decision | Product;

export interface Product {
  readonly kind: "product";
  readonly factors: readonly (number | Decision)[];
}

/** A decided size whose part lies in the middle of the axis: kernels. */
export interface Centred {
  readonly kind: "centred";
  readonly decision: Decision;
}

/** One axis of a parameter: how large it is under each choice, and which part of the largest a choice takes. */
export type Axis = Size | Centred;

/** The leading `factors[0] · factors[1] · …` entries of an axis. */
export function product(...factors: readonly (number | Decision)[]): Product {
  return { kind: "product", factors };
}

/** The middle part of an axis: entries (largest − chosen) / 2 on. Throws `INVALID_OPTION` unless all are odd or all even. */
export function centred(decision: Decision): Centred {
  if (decision.choices.every((each) => each % 2 === decision.choices[0] % 2)) return { kind: "centred", decision };
  throw new LoomweightError({
    code: "INVALID_OPTION",
    option: `choice "${decision.name}"`,
    problem: "the middle of a kernel needs sizes of one parity",
    expected: "all odd or all even",
    found: `[${decision.choices}]`,
  });
}

/** Numbers and decisions whose product is the size. */
export function factorsOf(axis: Axis): readonly (number | Decision)[] {
  if (typeof axis === "number") return [axis];
  if (!("kind" in axis)) return [axis];
  return axis.kind === "product" ? axis.factors : [axis.decision];
}

export function decisionsOf(axis: Axis): readonly Decision[] {
  const found = factorsOf(axis).filter((each) => typeof each !== "number");
  return [...new Map(found.map((each) => [each.name, each])).values()];
}

/** Size under a choice of each decision. */
export function sizeOf(axis: Axis, chosen: (decision: Decision) => number): number {
  return factorsOf(axis).reduce<number>(
    (size, factor) => size * (typeof factor === "number" ? factor : chosen(factor)),
    1,
  );
}

export const largestSize = (axis: Axis): number => sizeOf(axis, largest);

/** Entries [start, end) of the largest axis that a smaller size takes. */
export function rangeOf(axis: Axis, size: number): { start: number; end: number } {
  const start =
    typeof axis === "object" && "kind" in axis && axis.kind === "centred" ? (largestSize(axis) - size) / 2 : 0;
  return { start, end: start + size };
}
