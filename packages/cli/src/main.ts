import { escapeControls } from "@loomweight/tensor/errors";
import { CommanderError } from "commander";
import { describeFailure, stackOf } from "./failure.ts";
import { listenForInterrupt } from "./interrupt.ts";
import { createReporter } from "./output/reporter.ts";
import type { Streams } from "./output/streams.ts";
import { type CommonOptions, createProgram } from "./program.ts";

/** Exit codes: done, the input (or loomweight) is at fault, usage, interrupted. */
export type ExitCode = 0 | 1 | 2 | 130;

/** Runs the command line `words` (without node and script). Never throws; says what went wrong on stderr. */
export async function main(words: readonly string[], streams: Streams): Promise<ExitCode> {
  let closed = false;
  for (const stream of [streams.stdout, streams.stderr]) {
    // A reader that has seen enough (`| head`) is no fault.
    stream.once?.("error", (error) => {
      closed ||= error.code === "EPIPE";
    });
  }
  let exitCode: ExitCode = 0;
  const program = createProgram(async (work) => {
    exitCode = await runCommand(work, program.opts<CommonOptions>(), streams);
  });
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => streams.stdout.write(text),
      writeErr: (text) => streams.stderr.write(escapeControls(text)),
      getOutHelpWidth: () => streams.stdout.columns ?? 100,
      getErrHelpWidth: () => streams.stderr.columns ?? 100,
    });
  }
  try {
    await program.parseAsync([...words], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help that was asked for is a success; help shown because nothing was asked is not.
    return error.exitCode === 0 ? 0 : 2;
  }
  return closed ? 0 : exitCode;
}

async function runCommand(
  work: Parameters<Parameters<typeof createProgram>[0]>[0],
  { json = false, quiet = false, debug = false }: CommonOptions,
  streams: Streams,
): Promise<ExitCode> {
  const report = createReporter(streams, { json, quiet });
  const interrupt = listenForInterrupt(() => report.note("interrupted: stopping …"));
  try {
    await work({ report, signal: interrupt.signal });
    report.settle();
    // Done is done: an interrupt that came too late has nothing left to stop.
    return 0;
  } catch (error) {
    report.settle();
    if (debug) streams.stderr.write(`${escapeControls(stackOf(error))}\n`);
    if (interrupt.interrupted()) {
      const message = "interrupted; the output was not written";
      if (json) streams.stderr.write(`${JSON.stringify({ error: { code: "INTERRUPTED", message } })}\n`);
      else report.error(message);
      return 130;
    }
    const { exitCode, code, message } = describeFailure(error);
    if (json) streams.stderr.write(`${JSON.stringify({ error: { code, message } })}\n`);
    else report.error(message);
    return exitCode;
  } finally {
    interrupt.dispose();
  }
}
