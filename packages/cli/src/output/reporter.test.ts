import { expect, test } from "vitest";
import { createReporter, progressLine } from "./reporter.ts";

function streams(isTTY = false) {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    isTTY,
    columns: 60,
    write(part: string) {
      text[name] += part;
    },
  });
  return { text, stdout: stream("stdout"), stderr: stream("stderr"), environment: { NO_COLOR: "1" } };
}

test("results go to stdout and messages to stderr", () => {
  const io = streams();
  const report = createReporter(io, { json: false, quiet: false });
  report.result("a table");
  report.data({ never: "seen" });
  report.note("a note");
  report.warn("careful");
  report.error("broken");
  expect(io.text).toEqual({ stdout: "a table\n", stderr: "a note\nwarning: careful\nerror: broken\n" });
});

test("--json prints data only, and numbers that JSON lacks as text", () => {
  const io = streams();
  const report = createReporter(io, { json: true, quiet: true });
  report.result("a table");
  report.note("a note");
  report.data({ difference: Number.NaN, count: 3n });
  expect(JSON.parse(io.text.stdout)).toEqual({ difference: "NaN", count: 3 });
  expect(io.text.stderr).toBe("");
});

test("progress is one rewritten line on a terminal and one plain line per step elsewhere", () => {
  const terminal = streams(true);
  const live = createReporter(terminal, { json: false, quiet: false });
  live.progress({ label: "merging", done: 1, total: 2 });
  live.progress({ label: "merging", done: 2, total: 2 });
  live.settle();
  expect(terminal.text.stderr.split("\r\u001b[K").filter((part) => part.includes("merging"))).toHaveLength(2);
  expect(terminal.text.stderr.endsWith("\r\u001b[K")).toBe(true);
  const pipe = streams();
  const plain = createReporter(pipe, { json: false, quiet: false });
  plain.progress({ label: "merging", done: 1, total: 2 });
  plain.progress({ label: "merging", done: 2, total: 2 });
  expect(pipe.text.stderr).toBe("merging\n");
});

test("a progress line fits its terminal", () => {
  for (const columns of [10, 20, 40, 60, 200]) {
    expect(progressLine({ label: "reading a long name", done: 1, total: 3 }, 900, columns).length).toBeLessThan(
      columns,
    );
  }
  expect(progressLine({ label: "merging", done: 1, total: 2 }, 1000, 80)).toBe(
    `merging  ${"━".repeat(20)}${"─".repeat(20)}   50 %  1.0 s left`,
  );
});
