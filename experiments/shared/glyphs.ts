import type { Dataset } from "@loomweight/data";
import { createRandom, fromData } from "@loomweight/tensor";
import { side } from "./digits.ts";

// Digits of a 5 × 7 font, drawn turned, shifted and noisy: a problem that needs no data.

const font = [
  "01110 10001 10011 10101 11001 10001 01110",
  "00100 01100 00100 00100 00100 00100 01110",
  "01110 10001 00001 00010 00100 01000 11111",
  "11111 00010 00100 00010 00001 10001 01110",
  "00010 00110 01010 10010 11111 00010 00010",
  "11111 10000 11110 00001 00001 10001 01110",
  "00110 01000 10000 11110 10001 10001 01110",
  "11111 00001 00010 00100 01000 01000 01000",
  "01110 10001 10001 01110 10001 10001 01110",
  "01110 10001 10001 01111 00001 00010 01100",
].map((rows) => rows.split(" ").map((row) => [...row].map(Number)));

/**
 * `count` glyphs from number `from` of an endless series that `seed` draws: turned by `degrees` (± 15), shifted by up to
 * a pixel and a half, with noise of deviation 0.2: image [count, 256], label int32 [count].
 */
export function turnedGlyphs(seed: number, degrees: number, from: number, count: number): Dataset {
  const random = createRandom(seed, "glyphs");
  const [which, turns, shifts, noise] = ["label", "turn", "shift", "noise"].map((name) => random.child(name));
  const image = new Float32Array(count * side * side);
  const label = new Int32Array(count);
  for (let n = 0; n < count; n++) {
    const at = from + n;
    label[n] = Math.floor(which.uniform(at) * 10);
    const glyph = font[label[n]];
    const cell = (row: number, column: number) => glyph[row]?.[column] ?? 0;
    const angle = ((degrees + 30 * (turns.uniform(at) - 0.5)) * Math.PI) / 180;
    const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
    const [down, right] = [3 * (shifts.uniform(2 * at) - 0.5), 3 * (shifts.uniform(2 * at + 1) - 0.5)];
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) {
        const [y, x] = [i - (side - 1) / 2 - down, j - (side - 1) / 2 - right];
        const [row, column] = [3 + (cos * y - sin * x) / 1.7, 2 + (sin * y + cos * x) / 1.7];
        const [top, left] = [Math.floor(row), Math.floor(column)];
        const [below, beside] = [row - top, column - left];
        image[(n * side + i) * side + j] =
          (1 - below) * ((1 - beside) * cell(top, left) + beside * cell(top, left + 1)) +
          below * ((1 - beside) * cell(top + 1, left) + beside * cell(top + 1, left + 1)) +
          0.2 * noise.normal((at * side + i) * side + j);
      }
    }
  }
  return { image: fromData("float32", image, [count, side * side]), label: fromData("int32", label, [count]) };
}
