/**
 * Which parameters: a name in which `*` stands for any text ("*.bias", "layers.0.*"), a regular expression, a function
 * of name and shape, or a list of these of which one must match.
 */
export type ParameterPattern =
  | string
  | RegExp
  | ((name: string, shape: readonly number[]) => boolean)
  | readonly ParameterPattern[];

/** Whether a pattern takes a parameter. */
export function matches(pattern: ParameterPattern, name: string, shape: readonly number[]): boolean {
  if (typeof pattern === "string") return matchesText(pattern.split("*"), name);
  if (pattern instanceof RegExp) return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")).test(name);
  if (typeof pattern === "function") return pattern(name, shape);
  return pattern.some((each) => matches(each, name, shape));
}

/** Tensors of two axes or more: weights of layers, not biases and gains. */
export function isMatrix(_: string, shape: readonly number[]): boolean {
  return shape.length >= 2;
}

/** Tensors of fewer than two axes: biases and gains, which weight decay usually leaves out. */
export function isVector(_: string, shape: readonly number[]): boolean {
  return shape.length < 2;
}

/** The pieces between stars, in order and without overlap: each is looked for as early as it can stand. */
function matchesText(pieces: readonly string[], text: string): boolean {
  if (pieces.length === 1) return text === pieces[0];
  const [first, last] = [pieces[0], pieces[pieces.length - 1]];
  if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last)) return false;
  let at = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = text.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return at <= text.length - last.length;
}
