import { LoomweightError } from "@loomweight/tensor";

/** Which nodes to quantize: names of nodes or weights; `*` stands for any text. */
export interface Selection {
  /** Only these; absent = all that can be quantized. */
  readonly include?: readonly string[];
  /** Not these; wins over `include`. */
  readonly exclude?: readonly string[];
}

/** A test of node and weight names against `include` and `exclude`. Throws `INVALID_OPTION` for what is no list of texts. */
export function selector(selection: Selection, where: string): (...names: readonly string[]) => boolean {
  const include = patterns(selection.include, `${where}.include`);
  const exclude = patterns(selection.exclude, `${where}.exclude`) ?? [];
  return (...names) => {
    const hit = (list: readonly string[]) =>
      list.some((pattern) => names.some((name) => matchesPattern(pattern, name)));
    return (include === undefined || hit(include)) && !hit(exclude);
  };
}

function patterns(list: readonly string[] | undefined, option: string): readonly string[] | undefined {
  if (list !== undefined && (!Array.isArray(list) || list.some((each) => typeof each !== "string"))) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "invalid value",
      option,
      expected: "a list of names",
    });
  }
  return list;
}

/** Whether `name` is `pattern`, where each `*` stands for any text. Takes time linear in both. */
export function matchesPattern(pattern: string, name: string): boolean {
  const parts = pattern.split("*");
  if (parts.length === 1) return pattern === name;
  const first = parts[0];
  const last = parts[parts.length - 1];
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  const end = name.length - last.length;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
