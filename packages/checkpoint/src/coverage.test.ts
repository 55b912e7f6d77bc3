import fc from "fast-check";
import { expect, test } from "vitest";
import { claim, createCoverage, unclaim, unclaimed } from "./coverage.ts";

test("claims and gaps agree with a list of flags, whatever the order", () => {
  const size = 40;
  const range = fc.tuple(fc.integer({ min: 0, max: size }), fc.integer({ min: 0, max: size }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 60 }), fc.boolean(), (ranges, undoEveryThird) => {
      const coverage = createCoverage();
      const flags = new Array<boolean>(size).fill(false);
      for (const [i, [a, b]] of ranges.entries()) {
        const [start, end] = a < b ? [a, b] : [b, a];
        const free = !flags.slice(start, end).includes(true);
        expect(claim(coverage, start, end)).toBe(free);
        if (free) flags.fill(true, start, end);
        if (free && undoEveryThird && i % 3 === 0) {
          unclaim(coverage, start, end);
          flags.fill(false, start, end);
        }
      }
      const open = new Array<boolean>(size).fill(true);
      for (const { start, end } of unclaimed(coverage, size)) {
        expect(end).toBeGreaterThan(start);
        open.fill(false, start, end);
      }
      expect(open).toEqual(flags);
    }),
    { numRuns: 2000 },
  );
});

test("pieces written in order stay one interval", () => {
  const coverage = createCoverage();
  for (let at = 0; at < 1000; at += 10) claim(coverage, at, at + 10);
  expect(coverage.bounds).toEqual([0, 1000]);
  expect(unclaimed(coverage, 1000)).toEqual([]);
});
