import { writeFileSync } from "node:fs";
import { basename, relative } from "node:path";
import type { Reporter, TestCase, TestModule } from "vitest/node";

/** What became of the cases of one replay file. */
interface Tally {
  passed: number;
  readonly failed: { readonly name: string; readonly message: string }[];
  /** Reason → cases skipped for it. */
  readonly skipped: Map<string, number>;
}

/**
 * Prints, per replay file, how many recorded cases passed, failed (each with its first line) and were skipped,
 * the skips grouped by reason. A case skipped without a reason counts as failed: nothing is left out silently.
 * `json`: a file to write the totals to, in the words of vitest's own JSON.
 */
export function replayReporter(options: { json?: string } = {}): Reporter {
  return {
    onTestRunEnd(modules, unhandled) {
      const totals = { passed: 0, failed: unhandled.length, skipped: 0 };
      for (const module of [...modules].sort((a, b) => (a.moduleId < b.moduleId ? -1 : 1))) {
        const tally = tallyOf(module);
        totals.passed += tally.passed;
        totals.failed += tally.failed.length;
        for (const count of tally.skipped.values()) totals.skipped += count;
        printTally(relative(process.cwd(), module.moduleId), tally);
      }
      for (const error of unhandled) console.log(`    FAILED  outside a test: ${error.message}`);
      // Nothing replayed is no success.
      if (totals.failed > 0 || totals.passed === 0) process.exitCode = 1;
      if (options.json !== undefined) {
        const { passed: numPassedTests, failed: numFailedTests } = totals;
        writeFileSync(options.json, JSON.stringify({ numPassedTests, numFailedTests, numFailedTestSuites: 0 }));
      }
      console.log(`replay: ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
    },
  };
}

function tallyOf(module: TestModule): Tally {
  const tally: Tally = { passed: 0, failed: [], skipped: new Map() };
  for (const error of module.errors())
    tally.failed.push({ name: "(loading the file)", message: firstLine(error.message) });
  for (const test of module.children.allTests()) {
    const result = test.result();
    if (result.state === "passed") tally.passed++;
    else if (result.state === "failed") {
      tally.failed.push({ name: test.fullName, message: firstLine(result.errors[0]?.message ?? "failed") });
    } else countSkip(tally, test);
  }
  return tally;
}

function countSkip(tally: Tally, test: TestCase): void {
  const result = test.result();
  const reason = result.state === "skipped" ? result.note : undefined;
  if (reason === undefined || reason === "") {
    tally.failed.push({ name: test.fullName, message: "skipped without a reason" });
  } else tally.skipped.set(reason, (tally.skipped.get(reason) ?? 0) + 1);
}

function printTally(file: string, { passed, failed, skipped }: Tally): void {
  let skips = 0;
  for (const count of skipped.values()) skips += count;
  console.log(
    `${basename(file, ".replay.test.ts").padEnd(20)} ${String(passed).padStart(5)} passed ${String(failed.length).padStart(4)} failed ${String(skips).padStart(5)} skipped   ${file}`,
  );
  for (const { name, message } of failed.slice(0, 40)) console.log(`    FAILED  ${name}: ${message}`);
  if (failed.length > 40) console.log(`    … and ${failed.length - 40} more`);
  for (const [reason, count] of [...skipped].sort((a, b) => b[1] - a[1])) {
    console.log(`    skipped ${String(count).padStart(4)}  ${reason}`);
  }
}

function firstLine(message: string): string {
  return message.split("\n", 1)[0].slice(0, 300);
}
