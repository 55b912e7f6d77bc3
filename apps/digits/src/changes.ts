/** What can happen to digits, so that a model which reads upright ones has something to learn. */
export const changes = {
  "turned by 45°": (digit: Float32Array) => turned(digit, 45),
  "turned by 90°": (digit: Float32Array) => turned(digit, 90),
  "upside down": (digit: Float32Array) => turned(digit, 180),
  mirrored: (digit: Float32Array) => digit.map((_, i) => digit[i - (i % side) + (side - 1 - (i % side))]),
  "ink and paper swapped": (digit: Float32Array) => digit.map((pixel) => -pixel),
} as const;

export type Change = keyof typeof changes;

/** Side of a digit in pixels. */
export const side = 28;
/** Pixels of a digit. */
export const area = side * side;

/** Every digit of n x 28 x 28 pixels changed. */
export function changed(pixels: Float32Array, change: Change): Float32Array<ArrayBuffer> {
  const out = new Float32Array(pixels.length);
  for (let at = 0; at < pixels.length; at += area) out.set(changes[change](pixels.subarray(at, at + area)), at);
  return out;
}

/** 28 x 28 pixels turned about their centre, clockwise; between pixels linear, paper (-1) outside. */
export function turned(digit: Float32Array, degrees: number): Float32Array<ArrayBuffer> {
  const angle = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const centre = (side - 1) / 2;
  return Float32Array.from({ length: area }, (_, i) => {
    const [dx, dy] = [(i % side) - centre, Math.floor(i / side) - centre];
    return between(digit, centre + cos * dx + sin * dy, centre - sin * dx + cos * dy);
  });
}

/** 28 x 28 pixels moved right and down; paper comes in. */
export function moved(digit: Float32Array, right: number, down: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: area }, (_, i) => pixel(digit, (i % side) - right, Math.floor(i / side) - down));
}

function between(digit: Float32Array, x: number, y: number): number {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [u, v] = [x - left, y - top];
  return (
    (1 - v) * ((1 - u) * pixel(digit, left, top) + u * pixel(digit, left + 1, top)) +
    v * ((1 - u) * pixel(digit, left, top + 1) + u * pixel(digit, left + 1, top + 1))
  );
}

function pixel(digit: Float32Array, x: number, y: number): number {
  return x < 0 || y < 0 || x >= side || y >= side ? -1 : digit[y * side + x];
}
