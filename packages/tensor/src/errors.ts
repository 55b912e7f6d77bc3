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
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => {
      return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
    },
  );
}

/** Shapes that must agree do not. */
export function shapeMismatch(details: {
  where?: string;
  tensor?: string;
  expected: { from: string; shape: readonly (number | string)[] };
  got: { from: string; shape: readonly (number | string)[] };
  fix?: string;
}): LoomweightError {
  return new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: `${details.where === undefined ? "" : `${details.where}: `}shape mismatch: ${details.expected.from} has [${details.expected.shape}], ${details.got.from} has [${details.got.shape}]`,
    tensor: details.tensor,
    fix: details.fix,
  });
}

/** A name that is not among the known ones: the message lists the closest. */
export function unknownName(details: {
  kind: string;
  name: string;
  known: Iterable<string>;
  code?: string;
  file?: string;
  line?: number;
  column?: number;
  option?: string;
  fix?: string;
}): LoomweightError {
  const { kind, name, known, code, fix, ...place } = details;
  const close = closestNames(name, known);
  const suggestion = close.length === 0 ? undefined : `Did you mean ${close.map((each) => `"${each}"`).join(" or ")}?`;
  return new LoomweightError({
    code: code ?? "UNKNOWN_NAME",
    problem: `unknown ${kind} "${name}"`,
    fix: [suggestion, fix].filter((part) => part !== undefined).join(" ") || undefined,
    ...place,
  });
}

/** Up to three of `known` nearest to `name` by edits (separators and case ignored), nearest first. */
export function closestNames(name: string, known: Iterable<string>): string[] {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const limit = Math.max(2, Math.floor(name.length / 3));
  const wanted = plain(name).slice(0, 80);
  return [...known]
    .map((each) => ({ each, distance: editDistance(wanted, plain(each).slice(0, 80)) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance || (a.each < b.each ? -1 : 1))
    .slice(0, 3)
    .map(({ each }) => each);
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
