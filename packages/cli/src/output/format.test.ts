import { expect, test } from "vitest";
import { formatBytes, formatCount, formatDuration, formatNumber, plural } from "./format.ts";

test("bytes have three digits and never show 1000 of a unit", () => {
  expect([0, 999, 1000, 1234, 99_950, 999_499, 999_500, 5.2e9].map(formatBytes)).toEqual([
    "0 B",
    "999 B",
    "1.00 KB",
    "1.23 KB",
    "100 KB",
    "999 KB",
    "1.00 MB",
    "5.20 GB",
  ]);
});

test("counts stay exact while they are short", () => {
  expect([9999, 12_345, 494_032_768, 7e9].map(formatCount)).toEqual(["9999", "12.3 K", "494 M", "7.00 B"]);
});

test("durations go from milliseconds to minutes without a 60 s", () => {
  expect([12.4, 999.6, 2400, 59_960, 185_000].map(formatDuration)).toEqual([
    "12 ms",
    "1.0 s",
    "2.4 s",
    "1 min 0 s",
    "3 min 5 s",
  ]);
});

test("differences keep their size readable", () => {
  expect([0, 1, 0.0012345, 4.2e-7, Number.POSITIVE_INFINITY].map(formatNumber)).toEqual([
    "0",
    "1",
    "0.001234",
    "4.20e-7",
    "Infinity",
  ]);
});

test("plurals", () => {
  expect([plural(1, "tensor"), plural(2, "tensor"), plural(0, "entry", "entries")]).toEqual([
    "1 tensor",
    "2 tensors",
    "0 entries",
  ]);
});
