import { LoomweightError } from "@loomweight/kernels";

export { type ErrorDetails, escapeControls, LoomweightError } from "@loomweight/kernels";

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
  const wanted = plain(name).slice(0, 80);
  const limit = Math.max(2, Math.floor(wanted.length / 3));
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
