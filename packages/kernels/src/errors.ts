/** Where a fault was found and what would mend it; every part that is known is said in the message. */
export interface ErrorDetails {
  /** Stable, upper-case, for programs: `SHAPE_MISMATCH`. The text is free to improve. */
  readonly code: string;
  /** What is wrong, in one sentence without a full stop. */
  readonly problem: string;
  readonly file?: string;
  readonly tensor?: string;
  readonly option?: string;
  readonly node?: string;
  /** 1-based position in a text file. */
  readonly line?: number;
  readonly column?: number;
  readonly expected?: string;
  readonly found?: string;
  /** What the user can do. */
  readonly fix?: string;
  readonly cause?: unknown;
}

/** The one error class of this project: the user's input or environment is at fault, and the message says how. */
export class LoomweightError extends Error {
  override readonly name = "LoomweightError";
  readonly code: string;
  readonly details: ErrorDetails;

  constructor(details: ErrorDetails) {
    super(describe(details), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.details = details;
  }
}

function describe(details: ErrorDetails): string {
  const file = shorten(details.file, 1000);
  const place = [
    file === undefined || details.line === undefined ? file : `${file}:${details.line}:${details.column ?? 1}`,
    details.tensor === undefined ? undefined : `tensor "${shorten(details.tensor, 200)}"`,
    details.node === undefined ? undefined : `node "${shorten(details.node, 200)}"`,
    details.option === undefined ? undefined : `option ${shorten(details.option, 200)}`,
  ].filter((part) => part !== undefined);
  const facts = [
    details.expected === undefined ? undefined : `expected ${shorten(details.expected, 1000)}`,
    details.found === undefined ? undefined : `found ${shorten(details.found, 500)}`,
  ].filter((part) => part !== undefined);
  const problem = shorten(details.problem, 1000);
  const head = place.length === 0 ? problem : `${place.join(", ")}: ${problem}`;
  const body = facts.length === 0 ? head : `${head} (${facts.join(", ")})`;
  return escapeControls(details.fix === undefined ? `${body}.` : `${body}. ${shorten(details.fix, 2000)}`);
}

/** Names and values come from files that may be hostile: what is longer than `limit` is cut in the middle. */
function shorten<T extends string | undefined>(text: T, limit: number): T | string {
  if (text === undefined || text.length <= limit) return text;
  const half = Math.floor(limit / 2);
  return `${text.slice(0, half)}…${text.slice(-half)}`;
}

/** Text from a file made safe to print: control and bidirectional-override characters become \u escapes. */
export function escapeControls(text: string): string {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => {
      return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
    },
  );
}
