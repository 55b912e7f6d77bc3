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
  const place = [
    details.file === undefined
      ? undefined
      : details.line === undefined
        ? details.file
        : `${details.file}:${details.line}:${details.column ?? 1}`,
    details.tensor === undefined ? undefined : `tensor "${details.tensor}"`,
    details.node === undefined ? undefined : `node "${details.node}"`,
    details.option === undefined ? undefined : `option ${details.option}`,
  ].filter((part) => part !== undefined);
  const facts = [
    details.expected === undefined ? undefined : `expected ${details.expected}`,
    details.found === undefined ? undefined : `found ${details.found}`,
  ].filter((part) => part !== undefined);
  const head = place.length === 0 ? details.problem : `${place.join(", ")}: ${details.problem}`;
  const body = facts.length === 0 ? head : `${head} (${facts.join(", ")})`;
  return escapeControls(details.fix === undefined ? `${body}.` : `${body}. ${details.fix}`);
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
