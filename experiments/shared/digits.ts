import type { Dataset } from "@loomweight/data";
import { createRandom, fromData } from "@loomweight/tensor";
import { readDigits } from "../../examples/data.ts";

/** Side of the digits that experiments on shifts use: MNIST's, turned and drawn smaller. */
export const side = 16;

let all: Promise<{ pixels: Float32Array; labels: Int32Array }> | undefined;

async function mnist(): Promise<{ pixels: Float32Array; labels: Int32Array }> {
  const { train, test } = await readDigits();
  const join = (name: string) => [train, test].map((part) => part[name].data as Float32Array);
  return {
    pixels: Float32Array.from(join("pixels").flatMap((each) => [...each])),
    labels: Int32Array.from(join("labels").flatMap((each) => [...each])),
  };
}

/**
 * `count` of the 10,000 digits, from number `from` of an order that `seed` shuffles, turned by `degrees` and drawn at
 * 16 × 16 (bilinear): image [count, 256] from −1 to 1, label int32 [count].
 */
export async function turnedDigits(seed: number, degrees: number, from: number, count: number): Promise<Dataset> {
  all ??= mnist();
  const { pixels, labels } = await all;
  const order = createRandom(seed, "digits").permutation(labels.length);
  const image = new Float32Array(count * side * side);
  const label = new Int32Array(count);
  const [sin, cos] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
  const scale = 22 / side; // MNIST's digits fill the middle 20 of 28 pixels
  for (let n = 0; n < count; n++) {
    const at = order[from + n] * 784;
    const pixel = (row: number, column: number) =>
      row < 0 || column < 0 || row > 27 || column > 27 ? -1 : pixels[at + row * 28 + column];
    label[n] = labels[order[from + n]];
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) {
        const [y, x] = [(i - (side - 1) / 2) * scale, (j - (side - 1) / 2) * scale];
        const [row, column] = [13.5 + cos * y - sin * x, 13.5 + sin * y + cos * x];
        const [top, left] = [Math.floor(row), Math.floor(column)];
        const [down, right] = [row - top, column - left];
        image[(n * side + i) * side + j] =
          (1 - down) * ((1 - right) * pixel(top, left) + right * pixel(top, left + 1)) +
          down * ((1 - right) * pixel(top + 1, left) + right * pixel(top + 1, left + 1));
      }
    }
  }
  return { image: fromData("float32", image, [count, side * side]), label: fromData("int32", label, [count]) };
}
