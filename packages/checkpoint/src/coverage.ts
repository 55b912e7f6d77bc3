/** Which parts of [0, size) were claimed: disjoint intervals, sorted, neighbours joined. */
export interface Coverage {
  /** start₀, end₀, start₁, end₁, … */
  readonly bounds: number[];
}

export function createCoverage(): Coverage {
  return { bounds: [] };
}

/** Claims [start, end); false, changing nothing, where a part of it was claimed before. */
export function claim({ bounds }: Coverage, start: number, end: number): boolean {
  if (start === end) return true;
  const at = firstBoundAbove(bounds, start);
  // An odd place lies inside an interval; an even one before the interval that begins at bounds[at].
  if (at % 2 === 1 || (at < bounds.length && bounds[at] < end)) return false;
  const joinsLeft = at > 0 && bounds[at - 1] === start;
  const joinsRight = at < bounds.length && bounds[at] === end;
  if (joinsLeft && joinsRight) bounds.splice(at - 1, 2);
  else if (joinsLeft) bounds[at - 1] = end;
  else if (joinsRight) bounds[at] = start;
  else bounds.splice(at, 0, start, end);
  return true;
}

/** Gives [start, end), claimed before as a whole, free again. */
export function unclaim({ bounds }: Coverage, start: number, end: number): void {
  if (start === end) return;
  const at = firstBoundAbove(bounds, start); // the end of the interval that holds it
  const [from, to] = [bounds[at - 1], bounds[at]];
  const rest = [...(from < start ? [from, start] : []), ...(end < to ? [end, to] : [])];
  bounds.splice(at - 1, 2, ...rest);
}

/** The parts of [0, size) that were not claimed. */
export function unclaimed({ bounds }: Coverage, size: number): { start: number; end: number }[] {
  const gaps: { start: number; end: number }[] = [];
  let position = 0;
  for (let i = 0; i < bounds.length; i += 2) {
    if (bounds[i] > position) gaps.push({ start: position, end: bounds[i] });
    position = bounds[i + 1];
  }
  if (position < size) gaps.push({ start: position, end: size });
  return gaps;
}

/** Index of the first bound > value. */
function firstBoundAbove(bounds: readonly number[], value: number): number {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bounds[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
