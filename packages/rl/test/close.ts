import { expect } from "vitest";

/** Each number within half a unit of the digit. */
export function expectClose(found: ArrayLike<number>, expected: ArrayLike<number>, digits: number): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) expect(found[i], `[${i}]`).toBeCloseTo(expected[i], digits);
}
