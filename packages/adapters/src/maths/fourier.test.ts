import { expect, test } from "vitest";
import { numbers } from "../../test/contract.ts";
import { fourierTransform, inverseFourierRows } from "./fourier.ts";

test.for([1, 2, 3, 8, 12, 30, 49, 97])("a transform of size %i is the sum it stands for", (size) => {
  const [re, im] = [numbers("re", [size]).data, numbers("im", [size]).data];
  const got = fourierTransform(size)(re, im);
  for (let k = 0; k < size; k++) {
    let [x, y] = [0, 0];
    for (let j = 0; j < size; j++) {
      const angle = (2 * Math.PI * j * k) / size;
      x += re[j] * Math.cos(angle) - im[j] * Math.sin(angle);
      y += re[j] * Math.sin(angle) + im[j] * Math.cos(angle);
    }
    expect(got.re[k]).toBeCloseTo(x, 11);
    expect(got.im[k]).toBeCloseTo(y, 11);
  }
});

test("rows of a sparse spectrum's inverse transform", () => {
  const spectrum = { rows: [1, 4, 0], columns: [2, 0, 5], values: [3, -1, 0.5] };
  const got = inverseFourierRows(spectrum, { height: 5, width: 6 }, 2, 2);
  for (let i = 0; i < 2; i++) {
    for (let j = 0; j < 6; j++) {
      let sum = 0;
      for (let f = 0; f < 3; f++) {
        const turns = ((i + 2) * spectrum.rows[f]) / 5 + (j * spectrum.columns[f]) / 6;
        sum += spectrum.values[f] * Math.cos(2 * Math.PI * turns);
      }
      expect(got[i * 6 + j]).toBeCloseTo(sum / 30, 14);
    }
  }
});
