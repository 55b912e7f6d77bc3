import type { Dataset } from "@loomweight/data";
import { createRandom, fromData, type Random } from "@loomweight/tensor";

/** Side of the patterns, their number of pixels and of classes. */
export const side = 8;
export const pixels = side * side;
export const classes = 10;

/** Amplitude of a class's pattern beside noise of deviation 1: about an eighth of clean samples are told wrong. */
const amplitude = 0.4;

/** One smooth random pattern for each class. */
export function classPatterns(seed: number): Float64Array[] {
  return Array.from({ length: classes }, (_, c) => {
    const raw = new Float64Array(pixels);
    createRandom(seed, `pattern/${c}`).normalsInto(raw);
    const smooth = blurred(raw);
    const size = Math.sqrt(smooth.reduce((sum, value) => sum + value * value, 0) / pixels);
    return smooth.map((value) => (amplitude * value) / size);
  });
}

/** `count` samples: a pattern and noise, from number `from` on. image [count, 64], label [count]. */
export function samples(
  patterns: readonly Float64Array[],
  seed: number,
  name: string,
  count: number,
): { image: Float64Array; label: Int32Array } {
  const image = new Float64Array(count * pixels);
  const random = createRandom(seed, `samples/${name}`);
  random.child("noise").normalsInto(image);
  const label = Int32Array.from({ length: count }, (_, n) => Math.floor(random.child("label").uniform(n) * classes));
  for (const [n, c] of label.entries()) for (let i = 0; i < pixels; i++) image[n * pixels + i] += patterns[c][i];
  return { image, label };
}

export function dataset({ image, label }: { image: Float64Array; label: Int32Array }): Dataset {
  return {
    image: fromData("float32", Float32Array.from(image), [label.length, pixels]),
    label: fromData("int32", label, [label.length]),
  };
}

/** Changes of the inputs that a deployed classifier meets, by name. */
export function shifts(seed: number): Record<string, (image: Float64Array, random: Random) => Float64Array> {
  const drawn = (name: string, deviation: number) => {
    const values = new Float64Array(pixels);
    createRandom(seed, `shift/${name}`).normalsInto(values, { deviation });
    return values;
  };
  const [gain, offset] = [drawn("gain", 0.7).map(Math.exp), drawn("offset", 1)];
  const perSample = (image: Float64Array, change: (sample: Float64Array) => Float64Array) => {
    const out = new Float64Array(image.length);
    for (let at = 0; at < image.length; at += pixels) out.set(change(image.subarray(at, at + pixels)), at);
    return out;
  };
  return {
    noise(image, random) {
      const noise = new Float64Array(image.length);
      random.normalsInto(noise, { deviation: 1 });
      return image.map((value, i) => value + noise[i]);
    },
    contrast: (image) => image.map((value) => value * 0.25),
    offset: (image) => image.map((value) => value + 2),
    "gain of each pixel": (image) => image.map((value, i) => value * gain[i % pixels]),
    "offset of each pixel": (image) => image.map((value, i) => value + offset[i % pixels]),
    occlusion: (image) => image.map((value, i) => (i % side < 4 && (i % pixels) / side < 4 ? 0 : value)),
    blur: (image) => perSample(image, blurred),
    "mix with a neighbour": (image) =>
      perSample(image, (sample) =>
        sample.map((value, i) => 0.6 * value + 0.4 * sample[i - (i % side) + ((i + 1) % side)]),
      ),
  };
}

/** Mean of each pixel and its neighbours. */
function blurred(sample: Float64Array): Float64Array {
  return sample.map((_, i) => {
    let [sum, count] = [0, 0];
    const [row, column] = [Math.floor(i / side), i % side];
    for (let r = Math.max(0, row - 1); r <= Math.min(side - 1, row + 1); r++) {
      for (let c = Math.max(0, column - 1); c <= Math.min(side - 1, column + 1); c++) {
        sum += sample[r * side + c];
        count++;
      }
    }
    return sum / count;
  });
}
