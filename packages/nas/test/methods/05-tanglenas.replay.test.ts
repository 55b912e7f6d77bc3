import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { differences, replayOperation, replayRelaxation } from "./tanglenas-recorded.ts";
import { replaySearch } from "./tanglenas-search.ts";

const cases = methodCases("05-tanglenas");

const replays: Readonly<Record<string, (recorded: MethodCase) => void>> = {
  relaxation: replayRelaxation,
  operation: replayOperation,
  depth: replayOperation,
  search: replaySearch,
};

describe("05-tanglenas", () => {
  if (cases.length === 0) test("recorded cases", (context) => context.skip("fixtures/methods/05-tanglenas is absent"));
  test.each(cases)("$name", (recorded) => {
    expect(replays[recorded.kind], `a replay of ${recorded.kind}`).toBeDefined();
    replays[recorded.kind](recorded);
  });
  if (cases.length > 0) {
    test("every listed difference is of a recorded case", () => {
      for (const { case: name, tensor } of differences) {
        const recorded = cases.find((each) => each.name === name);
        expect(recorded !== undefined && (tensor === "*" || recorded.tensors.has(tensor)), `${name}/${tensor}`).toBe(
          true,
        );
      }
    });
  }
});
