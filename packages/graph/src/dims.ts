import { LoomweightError } from "@loomweight/tensor";
import type { Dim } from "./value.ts";

/** A size that nothing is known about: two of them are never equal. */
export const unknownDim = "?";

/** Sizes whose text would be longer are given up as unknown: graphs can square a symbol any number of times. */
const longestText = 400;

/**
 * Sizes are sums of products: "past_length + sequence_length", "2 * height". Texts with other forms, such as
 * "floor(height / 2)", count as one symbol. Sums are written in one canonical order, so equal sizes have equal text.
 */
type Polynomial = Map<string, number>; // sorted symbols of a product joined by " * " ("" = the constant) → factor

function parse(dim: Dim): Polynomial | undefined {
  if (typeof dim === "number") return new Map(dim === 0 ? [] : [["", dim]]);
  if (dim === unknownDim) return undefined;
  const sum: Polynomial = new Map();
  for (const { sign, text } of splitSum(dim)) {
    let factor = sign;
    const symbols: string[] = [];
    for (const part of splitAtDepthZero(text, " * ")) {
      if (/^\d+$/.test(part)) factor *= Number(part);
      else symbols.push(part);
    }
    addTerm(sum, symbols.sort().join(" * "), factor);
  }
  return sum;
}

function splitSum(text: string): { sign: number; text: string }[] {
  const terms: { sign: number; text: string }[] = [];
  for (const [index, positive] of splitAtDepthZero(text, " + ").entries()) {
    for (const [inner, term] of splitAtDepthZero(positive, " - ").entries()) {
      const negative = inner === 0 && index === 0 && term.startsWith("-");
      terms.push({ sign: inner > 0 || negative ? -1 : 1, text: negative ? term.slice(1) : term });
    }
  }
  return terms;
}

function splitAtDepthZero(text: string, separator: string): string[] {
  if (!text.includes(separator)) return [text];
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "(") depth++;
    else if (text[i] === ")") depth--;
    else if (depth === 0 && text.startsWith(separator, i)) {
      parts.push(text.slice(start, i));
      i += separator.length - 1;
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function addTerm(sum: Polynomial, key: string, factor: number): void {
  const total = (sum.get(key) ?? 0) + factor;
  if (total === 0) sum.delete(key);
  else sum.set(key, total);
}

function print(sum: Polynomial): Dim {
  if (sum.size === 0) return 0;
  if (sum.size === 1 && sum.has("")) return sum.get("") ?? 0;
  const terms = [...sum].sort(([a, x], [b, y]) => {
    if ((a === "") !== (b === "")) return a === "" ? 1 : -1; // the constant comes last
    if (x < 0 !== y < 0) return x < 0 ? 1 : -1;
    return a < b ? -1 : 1;
  });
  const text = terms
    .map(([key, factor], index) => {
      const size = Math.abs(factor);
      const body = key === "" ? `${size}` : size === 1 ? key : `${size} * ${key}`;
      if (index === 0) return factor < 0 ? `-${body}` : body;
      return factor < 0 ? ` - ${body}` : ` + ${body}`;
    })
    .join("");
  return text.length > longestText ? unknownDim : text;
}

function combine(a: Dim, b: Dim, sign: number): Dim {
  if (typeof a === "number" && typeof b === "number") return a + sign * b;
  const left = parse(a);
  const right = parse(b);
  if (left === undefined || right === undefined) return unknownDim;
  for (const [key, factor] of right) addTerm(left, key, sign * factor);
  return print(left);
}

export const addDims = (a: Dim, b: Dim): Dim => combine(a, b, 1);
export const subtractDims = (a: Dim, b: Dim): Dim => combine(a, b, -1);

function times(left: Polynomial, right: Polynomial): Polynomial {
  const product: Polynomial = new Map();
  for (const [a, x] of left) {
    for (const [b, y] of right) {
      const symbols = [...(a === "" ? [] : a.split(" * ")), ...(b === "" ? [] : b.split(" * "))].sort();
      addTerm(product, symbols.join(" * "), x * y);
    }
  }
  return product;
}

export function multiplyDims(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a * b;
  if (a === 0 || b === 0) return 0;
  if (a === 1) return b;
  if (b === 1) return a;
  const left = parse(a);
  const right = parse(b);
  if (left === undefined || right === undefined || left.size * right.size > 64) return unknownDim;
  return print(times(left, right));
}

/** Product of sizes; 1 for a scalar. */
export function productOf(shape: readonly Dim[]): Dim {
  return shape.reduce<Dim>(multiplyDims, 1);
}

/** a / b where it comes out even, as text or number; undefined otherwise. */
export function divideExactly(a: Dim, b: Dim): Dim | undefined {
  if (typeof a === "number" && typeof b === "number") return b !== 0 && a % b === 0 ? a / b : undefined;
  if (b === 1) return a;
  const left = parse(a);
  const right = parse(b);
  if (left === undefined || right === undefined || left.size === 0 || right.size === 0) return undefined;
  const [denominator, scale] = [...right][0];
  for (const [numerator, factor] of left) {
    const symbols = removeSymbols(numerator, denominator);
    if (symbols === undefined || factor % scale !== 0) continue;
    const quotient: Polynomial = new Map([[symbols, factor / scale]]);
    if (right.size === 1) {
      const whole = divideByTerm(left, denominator, scale);
      return whole === undefined ? undefined : print(whole);
    }
    if (print(times(quotient, right)) === print(left)) return print(quotient);
  }
  return undefined;
}

function divideByTerm(sum: Polynomial, symbols: string, scale: number): Polynomial | undefined {
  const quotient: Polynomial = new Map();
  for (const [key, factor] of sum) {
    const rest = removeSymbols(key, symbols);
    if (rest === undefined || factor % scale !== 0) return undefined;
    quotient.set(rest, factor / scale);
  }
  return quotient;
}

function removeSymbols(from: string, what: string): string | undefined {
  if (what === "") return from;
  const left = from === "" ? [] : from.split(" * ");
  for (const symbol of what.split(" * ")) {
    const at = left.indexOf(symbol);
    if (at < 0) return undefined;
    left.splice(at, 1);
  }
  return left.join(" * ");
}

/** Whole-number division rounded down, as ONNX divides sizes (they are never negative). */
export function divideDims(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return b === 0 ? unknownDim : Math.floor(a / b);
  const exact = divideExactly(a, b);
  if (exact !== undefined) return exact;
  if (a === unknownDim || b === unknownDim || `${a}${b}`.length > 200) return unknownDim;
  return `floor((${a}) / (${b}))`;
}

export function isConcrete(shape: readonly Dim[]): shape is readonly number[] {
  return shape.every((dim) => typeof dim === "number");
}

/** Size of one axis of a broadcast: numbers must agree or be 1; a number above 1 decides over a symbol. */
export function broadcastDim(a: Dim, b: Dim): Dim | undefined {
  if (a === 1) return b;
  if (b === 1 || (a === b && a !== unknownDim)) return a;
  if (typeof a === "number") return typeof b === "number" ? undefined : a;
  return typeof b === "number" ? b : unknownDim;
}

/** Shape of an elementwise op on operands of these shapes; throws `SHAPE_MISMATCH` when they cannot be broadcast. */
export function broadcast(shapes: readonly (readonly Dim[])[], where: string): Dim[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    let size: Dim = 1;
    for (const shape of shapes) {
      const at = axis - (rank - shape.length);
      if (at < 0) continue;
      const next = broadcastDim(size, shape[at]);
      if (next === undefined) {
        throw new LoomweightError({
          code: "SHAPE_MISMATCH",
          problem: `${where}: shapes ${shapes.map((each) => `[${each}]`).join(" and ")} cannot be broadcast together`,
          fix: "Sizes of an axis, counted from the last, must be equal or 1.",
        });
      }
      size = next;
    }
    return size;
  });
}

/** An axis counted from the end where negative; throws `INVALID_ATTRIBUTE` when it is outside the rank. */
export function normalizeAxis(axis: number, rank: number, where: string): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || positive < 0 || positive >= Math.max(rank, 1)) {
    throw new LoomweightError({
      code: "INVALID_ATTRIBUTE",
      problem: `${where}: there is no axis ${axis}`,
      expected: rank === 0 ? "0 or -1" : `a whole number from ${-rank} to ${rank - 1}`,
      found: `${axis}`,
    });
  }
  return positive;
}
