import { LoomweightError } from "@loomweight/tensor";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Pair,
  parseAllDocuments,
  visit as visitNodes,
} from "yaml";
import { type Located, type LocatedEntry, maxDepth, maxValues, type Place, type Scalar } from "./located.ts";

/** A recipe is small; what is larger than this is not one. */
const maxCharacters = 250_000;
/** Documents (`---`) of one recipe. */
export const maxDocuments = 64;
/** Columns a line may be indented, and so the depth of nested blocks. */
const maxIndent = 256;

/** `locateYamlDocuments` of text that must be one document. */
export function locateYaml(text: string, file?: string): Located {
  const [document, second] = locateYamlDocuments(text, file);
  if (second !== undefined) throw invalidYaml(second.place, "a single document is expected, here begins another (---)");
  return document;
}

/**
 * Parses YAML as data only: no tags, no duplicate keys, bounded aliases, depth and size. One value per document; empty
 * ones are left out, and at least one remains. Throws `INVALID_YAML` or `RECIPE_TOO_LARGE` with line and column.
 */
export function locateYamlDocuments(text: string, file?: string): readonly Located[] {
  if (text.length > maxCharacters) {
    throw tooLarge({ file }, `at most ${maxCharacters} characters`, `${text.length}`);
  }
  refuseDeepNesting(text, file);
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col };
  };
  const documents = parse(text, lines, file);
  for (const each of documents) {
    const [problem] = [...each.errors, ...each.warnings];
    if (problem !== undefined) throw invalidYaml(placeAt(problem.pos[0]), firstLine(problem.message));
  }
  const filled = documents.filter(({ contents }) => contents !== null && !isEmptyScalar(contents));
  if (filled.length === 0) throw invalidYaml({ file, line: 1, column: 1 }, "it is empty");
  const count = { values: 0 };
  return filled.map((document) => convert(document, placeAt, count));
}

/** What stands between two `---` with nothing but comments. */
const isEmptyScalar = (node: unknown): boolean => isScalar(node) && node.value === null && node.source === "";

function parse(text: string, lineCounter: LineCounter, file: string | undefined): Document.Parsed[] {
  try {
    // Duplicate keys are found in `convert`: the parser compares every key with every other.
    const documents = parseAllDocuments(text, { lineCounter, schema: "core", uniqueKeys: false, logLevel: "silent" });
    return "empty" in documents ? [] : documents;
  } catch (cause) {
    throw new LoomweightError({ code: "INVALID_YAML", problem: "the recipe cannot be parsed", file, cause });
  }
}

/** The parser recurses, and towers of brackets make it run out of memory rather than fail: they are met before it. */
function refuseDeepNesting(text: string, file: string | undefined): void {
  let documents = 1;
  const tooDeep = (line: number) =>
    tooLarge({ file, line, column: 1 }, `values nested at most ${maxDepth} deep`, "deeper nesting");
  text.split("\n").forEach((line, index) => {
    if (line.startsWith("---") && ++documents > maxDocuments + 1) {
      throw tooLarge({ file, line: index + 1, column: 1 }, `at most ${maxDocuments} documents`, "more");
    }
    let at = 0;
    let indicators = 0;
    while (at < line.length && " -?:\t".includes(line[at])) if (!" \t".includes(line[at++])) indicators++;
    if (at > maxIndent || (indicators > maxDepth && at < line.length)) throw tooDeep(index + 1);
  });
  let depth = 0;
  let line = 1;
  for (const token of new Lexer().lex(text)) {
    if (token === "[" || token === "{") depth++;
    else if (token === "]" || token === "}") depth--;
    else if (token.includes("\n")) line += token.split("\n").length - 1;
    if (depth > maxDepth) throw tooDeep(line);
  }
}

/** `count` is shared by the documents of a recipe: it bounds them together. */
function convert(document: Document.Parsed, placeAt: (offset: number) => Place, count: { values: number }): Located {
  const targets = aliasTargets(document);
  const placeOf = (node: { range?: readonly number[] | null } | null): Place => placeAt(node?.range?.[0] ?? 0);

  const visit = (node: unknown, depth: number, within: Place): Located => {
    const place = node === null ? within : placeOf(node as { range?: readonly number[] });
    if (++count.values > maxValues) throw tooLarge(place, `at most ${maxValues} values, aliases followed`, "more");
    if (depth > maxDepth) throw tooLarge(place, `values nested at most ${maxDepth} deep`, "deeper nesting");
    if (isAlias(node)) {
      const target = targets.get(node);
      if (target === undefined) throw invalidYaml(place, `the anchor *${node.source} is not defined before it is used`);
      return { ...visit(target, depth + 1, place), place };
    }
    if (isSeq(node)) return { value: node.items.map((item) => visit(item, depth + 1, place)), place };
    if (isMap(node)) return { value: visitPairs(node.items as Pair[], depth, place), place };
    if (isScalar(node) || node === null) return { value: scalar(node === null ? null : node.value, place), place };
    throw invalidYaml(place, "only mappings, lists and plain values are understood");
  };

  const visitPairs = (pairs: readonly Pair[], depth: number, within: Place): ReadonlyMap<string, LocatedEntry> => {
    const entries = new Map<string, LocatedEntry>();
    const merged = new Map<string, LocatedEntry>();
    for (const { key, value } of pairs) {
      if (!isScalar(key)) throw invalidYaml(within, "the keys of a mapping must be plain text");
      const keyPlace = placeOf(key);
      const name = String(key.value);
      const item = visit(value ?? null, depth + 1, keyPlace);
      if (name === "<<") {
        for (const source of Array.isArray(item.value) ? (item.value as readonly Located[]) : [item]) {
          if (!(source.value instanceof Map)) throw invalidYaml(keyPlace, "<< takes a mapping or a list of mappings");
          for (const [each, entry] of source.value) if (!merged.has(each)) merged.set(each, entry);
        }
        continue;
      }
      const before = entries.get(name);
      if (before !== undefined) {
        throw invalidYaml(keyPlace, `duplicate key "${name}", first given in line ${before.keyPlace.line}`);
      }
      entries.set(name, { keyPlace, item });
    }
    for (const [name, entry] of merged) if (!entries.has(name)) entries.set(name, entry);
    return entries;
  };

  return visit(document.contents, 0, placeAt(0));
}

/** What every alias stands for: the last node before it with its anchor. The parser's own search begins anew each time. */
function aliasTargets(document: Document.Parsed): ReadonlyMap<unknown, unknown> {
  const anchors = new Map<string, unknown>();
  const targets = new Map<unknown, unknown>();
  visitNodes(document, (_, node) => {
    if (isAlias(node)) targets.set(node, anchors.get(node.source));
    else if ((isScalar(node) || isMap(node) || isSeq(node)) && node.anchor) anchors.set(node.anchor, node);
  });
  return targets;
}

function scalar(value: unknown, place: Place): Scalar {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean" || value === null)
    return value;
  if (value === undefined) return null;
  throw invalidYaml(place, "only text, numbers, true, false and null are understood");
}

const firstLine = (message: string) => message.split("\n")[0].replace(/ at line \d+, column \d+:?$/, "");

function invalidYaml(place: Place, problem: string): LoomweightError {
  return new LoomweightError({ code: "INVALID_YAML", problem: `invalid recipe: ${problem}`, ...place });
}

function tooLarge(place: Place, expected: string, found: string): LoomweightError {
  return new LoomweightError({
    code: "RECIPE_TOO_LARGE",
    problem: "the recipe is too large",
    expected,
    found,
    ...place,
  });
}
