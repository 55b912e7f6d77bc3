import { LoomweightError as KernelError } from "@loomweight/kernels";
import { expect, test } from "vitest";
import { closestNames, escapeControls, LoomweightError, shapeMismatch, unknownName } from "./index.ts";

test("a message says place, problem, expected, found and fix", () => {
  const error = new LoomweightError({
    code: "X",
    problem: "bad header",
    file: "a.yml",
    line: 3,
    column: 7,
    tensor: "w",
    option: "ties.density",
    expected: "1",
    found: "2",
    fix: "Mend it.",
    cause: new RangeError("deep"),
  });
  expect(error.message).toBe('a.yml:3:7, tensor "w", option ties.density: bad header (expected 1, found 2). Mend it.');
  expect(error.code).toBe("X");
  expect(error.cause).toBeInstanceOf(RangeError);
  expect(new LoomweightError({ code: "X", problem: "bad" }).message).toBe("bad.");
});

test("there is one error class for all packages", () => {
  expect(LoomweightError).toBe(KernelError);
});

test("terminal escapes and text direction tricks in names are made visible", () => {
  expect(escapeControls("a\u001b[31m\u202eb\n\tc")).toBe("a\\u001b[31m\\u202eb\n\tc");
  expect(new LoomweightError({ code: "X", problem: "p", tensor: "\u0007" }).message).toContain("\\u0007");
});

test("unknown names list the closest known ones", () => {
  expect(closestNames("task_arithmatic", ["task-arithmetic", "ties", "linear"])).toEqual(["task-arithmetic"]);
  expect(closestNames("zzzzz", ["ties", "dare"])).toEqual([]);
  expect(closestNames("x".repeat(100_000), ["ties"])).toEqual([]); // bounded work
  const error = unknownName({ kind: "method", name: "tis", known: ["ties", "slerp"], file: "r.yml", line: 2 });
  expect(error.message).toBe('r.yml:2:1: unknown method "tis". Did you mean "ties"?');
  expect(error.code).toBe("UNKNOWN_NAME");
});

test("a name of a hostile file does not flood the message", () => {
  const long = "x".repeat(1_000_000);
  const error = unknownName({ kind: "method", name: long, known: ["ties"], file: long });
  expect(error.message.length).toBeLessThan(3000);
  expect(new LoomweightError({ code: "X", problem: "bad", tensor: long, found: long }).message.length).toBeLessThan(
    1000,
  );
});

test("shape mismatches give both sides", () => {
  const error = shapeMismatch({
    where: "ties",
    tensor: "w",
    expected: { from: "base", shape: [2, 3] },
    got: { from: "models[1]", shape: ["n", 4] },
  });
  expect(error.message).toBe('tensor "w": ties: shape mismatch: base has [2,3], models[1] has [n,4].');
  expect(error.code).toBe("SHAPE_MISMATCH");
});
