import type { Reporter } from "./output/reporter.ts";

/** What every command is given besides its arguments. */
export interface CommandContext {
  readonly report: Reporter;
  /** Aborted by Ctrl-C: a command stops at the next tile and discards what it began to write. */
  readonly signal: AbortSignal;
}

/** A command's work: resolves when done, throws what is wrong. */
export type Command<Arguments extends readonly unknown[], Options> = (
  context: CommandContext,
  options: Options,
  ...names: Arguments
) => Promise<void>;
