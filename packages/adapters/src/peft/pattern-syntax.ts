import { LoomweightError } from "@loomweight/tensor";

/** Syntax tree of a pattern. Greedy and lazy repeats are one: whether a text matches does not depend on it. */
export type PatternNode =
  | { readonly kind: "character"; readonly test: (code: number) => boolean }
  | { readonly kind: "sequence"; readonly parts: readonly PatternNode[] }
  | { readonly kind: "choice"; readonly options: readonly PatternNode[] }
  | { readonly kind: "repeat"; readonly body: PatternNode; readonly min: number; readonly max: number }
  | { readonly kind: "position"; readonly at: "start" | "end" | "strictEnd" | "boundary" | "notBoundary" }
  | { readonly kind: "look"; readonly behind: boolean; readonly negated: boolean; readonly body: PatternNode };

/** Where a pattern was written, for its error message. */
export interface PatternPlace {
  readonly option: string;
  readonly file?: string;
}

const maximalLength = 10_000;
const maximalDepth = 200;

/**
 * Reads the syntax of Python's `re` as far as it decides whether a text matches. Backreferences, conditionals, atomic
 * groups and possessive repeats are refused (`UNSUPPORTED_PATTERN`), bad syntax is `INVALID_PATTERN`.
 */
export function parsePattern(pattern: string, place: PatternPlace): PatternNode {
  const source = [...pattern];
  let at = 0;
  let ignoreCase = false;
  let depth = 0;

  const invalid = (problem: string) =>
    new LoomweightError({
      code: "INVALID_PATTERN",
      problem: `${problem} at position ${at} of the pattern`,
      found: JSON.stringify(pattern.slice(0, 200)),
      ...place,
    });
  const unsupported = (what: string) =>
    new LoomweightError({
      code: "UNSUPPORTED_PATTERN",
      problem: `${what} in a pattern are not supported`,
      found: JSON.stringify(pattern.slice(0, 200)),
      fix: "Write the pattern without them, or list the modules by name.",
      ...place,
    });
  if (source.length > maximalLength) throw invalid(`a pattern of more than ${maximalLength} characters`);

  const literal = (character: string): PatternNode => {
    if (!ignoreCase) {
      const wanted = character.codePointAt(0);
      return { kind: "character", test: (code) => code === wanted };
    }
    const folded = character.toLowerCase();
    return { kind: "character", test: (code) => String.fromCodePoint(code).toLowerCase() === folded };
  };

  function choice(): PatternNode {
    if (++depth > maximalDepth) throw invalid("groups nested too deeply");
    const options = [sequence()];
    while (source[at] === "|") {
      at++;
      options.push(sequence());
    }
    depth--;
    return options.length === 1 ? options[0] : { kind: "choice", options };
  }

  function sequence(): PatternNode {
    const parts: PatternNode[] = [];
    while (at < source.length && source[at] !== "|" && source[at] !== ")") parts.push(repeated(atom()));
    return { kind: "sequence", parts };
  }

  function repeated(body: PatternNode): PatternNode {
    const bounds = repeatBounds();
    if (bounds === undefined) return body;
    if (body.kind === "position" || body.kind === "look") throw unsupported("repeats of positions");
    if (source[at] === "+") throw unsupported("possessive repeats");
    if (source[at] === "?") at++;
    const again = at;
    if (repeatBounds() !== undefined) {
      at = again;
      throw invalid("a repeat of a repeat");
    }
    return { kind: "repeat", body, ...bounds };
  }

  function repeatBounds(): { min: number; max: number } | undefined {
    const character = source[at];
    const simple = Object.hasOwn(simpleRepeats, character ?? "") ? simpleRepeats[character] : undefined;
    if (simple !== undefined) {
      at++;
      return simple;
    }
    if (character !== "{") return undefined;
    const written = /^\{(\d*)(,?)(\d*)\}/.exec(source.slice(at, at + 24).join(""));
    if (written === null || (written[1] === "" && written[2] === "")) return undefined; // a plain brace, as in Python
    at += written[0].length;
    const min = written[1] === "" ? 0 : Number(written[1]);
    const max = written[2] === "" ? min : written[3] === "" ? Number.POSITIVE_INFINITY : Number(written[3]);
    if (min > max) throw invalid("a repeat whose minimum is above its maximum");
    return { min, max };
  }

  function atom(): PatternNode {
    const character = source[at++];
    switch (character) {
      case "(":
        return group();
      case "[":
        return { kind: "character", test: characterSet() };
      case ".":
        return { kind: "character", test: (code) => code !== 10 };
      case "^":
        return { kind: "position", at: "start" };
      case "$":
        return { kind: "position", at: "end" };
      case "*":
      case "+":
      case "?":
        at--;
        throw invalid("nothing to repeat");
      case "\\":
        return escaped();
      default:
        return literal(character);
    }
  }

  function group(): PatternNode {
    let look: { behind: boolean; negated: boolean } | undefined;
    const outerCase = ignoreCase;
    if (source[at] === "?") {
      const head = source.slice(at + 1, at + 64).join("");
      const name = /^P?<([A-Za-z_]\w*)>/.exec(head);
      const flags = /^([aiLmsux]*)(?:-([imsx]+))?([:)])/.exec(head);
      if (head.startsWith("#")) {
        while (at < source.length && source[at] !== ")") at++;
        if (source[at++] !== ")") throw invalid("a comment that does not end");
        return { kind: "sequence", parts: [] };
      }
      if (head.startsWith("=") || head.startsWith("!")) {
        look = { behind: false, negated: head[0] === "!" };
        at += 2;
      } else if (head.startsWith("<=") || head.startsWith("<!")) {
        look = { behind: true, negated: head[1] === "!" };
        at += 3;
      } else if (name !== null && head.startsWith("P<")) {
        at += 1 + name[0].length;
      } else if (head.startsWith("P=")) {
        throw unsupported("backreferences");
      } else if (head.startsWith(">")) {
        throw unsupported("atomic groups");
      } else if (head.startsWith("(")) {
        throw unsupported("conditional groups");
      } else if (flags !== null) {
        if (/[mxL]/.test(flags[1])) throw unsupported(`flags (?${flags[1]})`);
        if (flags[1].includes("i")) ignoreCase = true;
        if (flags[2]?.includes("i")) ignoreCase = false;
        at += 1 + flags[0].length;
        if (flags[3] === ")") {
          if (at !== flags[0].length + 2) throw invalid("global flags not at the start");
          return { kind: "sequence", parts: [] };
        }
      } else {
        throw invalid("an unknown kind of group");
      }
    }
    const body = choice();
    if (source[at++] !== ")") throw invalid("a group that does not end");
    ignoreCase = outerCase;
    return look === undefined ? body : { kind: "look", ...look, body };
  }

  function escaped(): PatternNode {
    const character = source[at];
    if (character === undefined) throw invalid("a backslash at the end");
    const position = { A: "start", Z: "strictEnd", b: "boundary", B: "notBoundary" } as const;
    if (Object.hasOwn(position, character)) {
      at++;
      return { kind: "position", at: position[character as keyof typeof position] };
    }
    if (/[1-9]/.test(character)) throw unsupported("backreferences");
    const test = escapedClass();
    if (test !== undefined) return { kind: "character", test };
    return literal(escapedCharacter());
  }

  function escapedClass(): ((code: number) => boolean) | undefined {
    const test = characterClasses[source[at]];
    if (test !== undefined) at++;
    return test;
  }

  function escapedCharacter(): string {
    const character = source[at++];
    if (Object.hasOwn(controlEscapes, character)) return controlEscapes[character];
    const digits = character === "x" ? 2 : character === "u" ? 4 : 0;
    if (digits > 0) {
      const code = source.slice(at, at + digits).join("");
      if (code.length !== digits || !/^[0-9a-fA-F]+$/.test(code)) throw invalid("an incomplete escape");
      at += digits;
      return String.fromCodePoint(Number.parseInt(code, 16));
    }
    if (character === undefined || /[A-Za-z0-9]/.test(character)) throw invalid("an unknown escape");
    return character;
  }

  function characterSet(): (code: number) => boolean {
    const negated = source[at] === "^";
    if (negated) at++;
    const tests: ((code: number) => boolean)[] = [];
    const begin = at;
    while (source[at] !== "]" || at === begin) {
      if (at >= source.length) throw invalid("a character set that does not end");
      const isEscapedLow = source[at] === "\\";
      if (isEscapedLow) at++;
      const test = isEscapedLow ? escapedClass() : undefined;
      if (test !== undefined) {
        tests.push(test);
        continue;
      }
      const low = setMember(isEscapedLow);
      if (source[at] !== "-" || source[at + 1] === "]" || source[at + 1] === undefined) {
        tests.push((code) => code === low);
        continue;
      }
      at++;
      const isEscapedHigh = source[at] === "\\";
      if (isEscapedHigh) at++;
      const high = setMember(isEscapedHigh);
      if (high < low) throw invalid("a range whose end is before its start");
      tests.push((code) => code >= low && code <= high);
    }
    at++;
    const folded = ignoreCase
      ? (code: number) => {
          const text = String.fromCodePoint(code);
          const lower = text.toLowerCase().codePointAt(0) ?? code;
          const upper = text.toUpperCase().codePointAt(0) ?? code;
          return tests.some((test) => test(lower) || test(upper));
        }
      : (code: number) => tests.some((test) => test(code));
    return negated ? (code) => !folded(code) : folded;
  }

  function setMember(isEscape: boolean): number {
    if (isEscape && source[at] === "b") {
      at++;
      return 8;
    }
    const character = isEscape ? escapedCharacter() : source[at++];
    return character?.codePointAt(0) ?? 0;
  }

  const tree = choice();
  if (at < source.length) throw invalid("a closing parenthesis too many");
  return tree;
}

/** Letters, digits and the underscore, as Python counts them in text. */
export function isWordCharacter(code: number): boolean {
  if (code < 128)
    return (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || code === 95 || (code >= 97 && code <= 122);
  return /[\p{L}\p{N}]/u.test(String.fromCodePoint(code));
}

const isDigit = (code: number) => (code < 128 ? code >= 48 && code <= 57 : /\p{Nd}/u.test(String.fromCodePoint(code)));
const isSpace = (code: number) => /\s/u.test(String.fromCodePoint(code));
const characterClasses: Readonly<Record<string, (code: number) => boolean>> = {
  d: isDigit,
  D: (code) => !isDigit(code),
  w: isWordCharacter,
  W: (code) => !isWordCharacter(code),
  s: isSpace,
  S: (code) => !isSpace(code),
};
const simpleRepeats: Readonly<Record<string, { readonly min: number; readonly max: number }>> = {
  "*": { min: 0, max: Number.POSITIVE_INFINITY },
  "+": { min: 1, max: Number.POSITIVE_INFINITY },
  "?": { min: 0, max: 1 },
};
const controlEscapes: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  f: "\f",
  v: "\v",
  a: "\u0007",
  "0": "\0",
};
