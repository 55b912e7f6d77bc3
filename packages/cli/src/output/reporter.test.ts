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

test("without a terminal a long step says every few seconds how far it is, what it does and how long it will take", () => {
  let time = 0;
  const pipe = streams();
  const report = createReporter(pipe, { json: false, quiet: false, now: () => time });
  for (; time <= 12_000; time += 100) {
    report.progress({ label: "merging", done: time, total: 20_000, detail: `${time / 1000} of 20 tensors` });
  }
  expect(pipe.text.stderr.split("\n")).toEqual([
    "merging",
    "merging: 25 %, 5 of 20 tensors, 15.0 s left",
    "merging: 50 %, 10 of 20 tensors, 10.0 s left",
    "",
  ]);
});

test("--json tells progress, notes and warnings as events, one line of JSON each", () => {
  let time = 0;
  const io = streams(true);
  const report = createReporter(io, { json: true, quiet: false, now: () => time });
  for (; time <= 2000; time += 500) {
    report.progress({ label: "merging", done: time, total: 2000, facts: { tensorsDone: time / 500 } });
  }
  report.note("done\n");
  report.warn("a \u001b[31mwarning");
  const lines = io.text.stderr.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { event: "progress", label: "merging", done: 0, total: 2000, tensorsDone: 0 },
    { event: "progress", label: "merging", done: 1000, total: 2000, tensorsDone: 2, millisecondsLeft: 1000 },
    { event: "progress", label: "merging", done: 2000, total: 2000, tensorsDone: 4, millisecondsLeft: 0 },
    { event: "note", message: "done\n" },
    { event: "warning", message: "a \u001b[31mwarning" },
  ]);
  expect(io.text.stderr).not.toContain("\u001b");
  expect(io.text.stdout).toBe("");
});

test("a wide terminal shows the detail too", () => {
  const step = { label: "merging", done: 1, total: 2, detail: "3 of 6 tensors, 0.50 GB/s" };
  expect(progressLine(step, 1000, 100)).toMatch(/50 % {2}3 of 6 tensors, 0\.50 GB\/s, 1\.0 s left$/);
  expect(progressLine(step, 1000, 60)).not.toContain("tensors");
});

test("a terminal that does not say its width gets a line all the same", () => {
  let shown = "";
  const stderr = {
    isTTY: true,
    columns: 0,
    write(text: string) {
      shown += text;
    },
  };
  const streams = { stdout: { write() {} }, stderr } as unknown as Parameters<typeof createReporter>[0];
  createReporter(streams, { json: false, quiet: false }).progress({ label: "merging", done: 1, total: 2 });
  expect(shown).toContain("merging");
  expect(shown).toContain("50 %");
});
