import { expect, test } from "vitest";
import { area, type Change, changed, changes, moved, side, turned } from "./changes.ts";

/** Paper with ink at one place. */
function dot(x: number, y: number): Float32Array {
  const pixels = new Float32Array(area).fill(-1);
  pixels[y * side + x] = 1;
  return pixels;
}
const close = (got: Float32Array, wanted: Float32Array) =>
  expect(Math.max(...got.map((value, i) => Math.abs(value - wanted[i])))).toBeLessThan(1e-5);

test("a quarter turn clockwise takes the left of the top row to the right column's top, a half turn across", () => {
  close(turned(dot(3, 0), 90), dot(27, 3));
  close(turned(dot(3, 0), 180), dot(24, 27));
});

test("mirroring, swapping and moving are exact, and what is moved out is gone", () => {
  expect(changed(dot(3, 5), "mirrored")).toEqual(dot(24, 5));
  expect(changed(dot(3, 5), "ink and paper swapped")).toEqual(dot(3, 5).map((pixel) => -pixel));
  expect(moved(dot(3, 5), 2, -1)).toEqual(dot(5, 4));
  expect(moved(dot(27, 5), 1, 0)).toEqual(new Float32Array(area).fill(-1));
});

test("every change keeps many digits apart and leaves what it is given", () => {
  const two = new Float32Array(2 * area);
  two.set(dot(3, 5));
  two.set(dot(14, 20), area);
  const copy = two.slice();
  for (const change of Object.keys(changes) as Change[]) {
    const out = changed(two, change);
    expect(out.subarray(area)).toEqual(changed(dot(14, 20), change));
    expect(out.length).toBe(two.length);
  }
  expect(two).toEqual(copy);
});
