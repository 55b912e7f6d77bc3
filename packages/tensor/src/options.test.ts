import { expect, test } from "vitest";
import {
  boolean,
  choice,
  finite,
  fraction,
  integer,
  nonNegative,
  parseOptions,
  positive,
  text,
  unitInterval,
} from "./options.ts";

const specs = {
  density: fraction(0.2, "share kept"),
  lambda: finite(1, "scale"),
  rank: integer(undefined, "rank", { min: 1, max: 8 }),
  mode: choice(["sum", "count"], "sum", "how"),
  normalize: boolean(true, "whether"),
  name: text("", "name"),
};

test("defaults are filled in and values converted", () => {
  expect(parseOptions(specs, { rank: "4", lambda: true, normalize: 0 }, "ties")).toEqual({
    density: 0.2,
    lambda: 1,
    rank: 4,
    mode: "sum",
    normalize: false,
    name: "",
  });
});

test("unknown, missing and bad options are named with place, value and range", () => {
  const parse = (raw: Record<string, unknown>) => () => parseOptions(specs, raw, "ties", { file: "r.yml", line: 4 });
  expect(parse({ rank: 1, densty: 1 })).toThrow('r.yml:4:1: unknown option of ties "densty". Did you mean "density"?');
  expect(parse({})).toThrow(
    "r.yml:4:1, option ties.rank: required option is missing (expected a whole number from 1 to 8)",
  );
  expect(parse({ rank: 9 })).toThrow("option ties.rank: invalid value (expected a whole number from 1 to 8, found 9)");
  expect(parse({ rank: 1, density: 0 })).toThrow("expected a number above 0 and at most 1, found 0");
  expect(parse({ rank: 1, density: "high" })).toThrow('found "high"');
  expect(parse({ rank: 1, mode: "summ" })).toThrow('Did you mean "sum"?');
  expect(parse({ rank: 1, mode: 3 })).toThrow("expected one of sum, count, found 3");
  expect(parse({ rank: 1, normalize: "yes" })).toThrow('expected true or false, found "yes"');
  expect(parse({ rank: 1, name: 5 })).toThrow("expected text, found 5");
  expect(parse({ rank: 1, constructor: 5 })).toThrow("unknown option");
});

test("ranges include and exclude their ends as they say", () => {
  const accepts = (spec: { check(value: unknown, place: { option: string }): unknown }, value: unknown) => {
    try {
      spec.check(value, { option: "x" });
      return true;
    } catch {
      return false;
    }
  };
  const cases: [ReturnType<typeof finite>, number[], unknown[]][] = [
    [fraction(1, ""), [0.01, 1], [0, 1.01, "", null, [], {}]],
    [unitInterval(1, ""), [0, 1], [-0.01, 1.01]],
    [positive(1, ""), [1e-300, 5], [0, -1, Number.POSITIVE_INFINITY]],
    [nonNegative(1, ""), [0, 5], [-1e-300, Number.NaN]],
    [finite(1, ""), [-5, 0], [Number.NaN, Number.POSITIVE_INFINITY, "1e999", undefined]],
    [integer(1, ""), [-5, 2 ** 40], [0.5, 2 ** 60]],
    [integer(1, "", { min: 2 }), [2], [1]],
  ];
  for (const [spec, good, bad] of cases) {
    expect(good.filter((value) => !accepts(spec, value))).toEqual([]);
    expect(bad.filter((value) => accepts(spec, value))).toEqual([]);
  }
});
