import { mul, reshape, slice, type Value } from "@loomweight/graph";
import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import type { LayerShape } from "../layer.ts";
import { torchGenerator } from "../random/torch-random.ts";

/** Largest `in` and `out` of the layers: the size of projections that all of them share. */
export function largestLayer(layers: ReadonlyMap<string, LayerShape>): { in: number; out: number } {
  let [most, mostOut] = [0, 0];
  for (const layer of layers.values()) {
    most = Math.max(most, layer.in);
    mostOut = Math.max(mostOut, layer.out);
  }
  return { in: most, out: mostOut };
}

/** The leading part of a projection along an axis. Throws `SHAPE_MISMATCH` where it is smaller than the layer. */
export function leading(name: string, projection: Tensor, axis: number, size: number): Tensor {
  if (projection.shape[axis] < size) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "a projection that layers share is smaller than one of them",
      tensor: name,
      expected: `at least ${size} along axis ${axis}`,
      found: `[${projection.shape}]`,
    });
  }
  return slice(projection, { starts: [0], ends: [size], axes: [axis] });
}

/**
 * `torch.empty(shape).uniform_(-bound, bound)` for the bound √(6 / fanIn), drawn one after another from one generator:
 * what VeRA's projections are when a file does not hold them. Float32 values.
 */
export function torchKaimingUniform(
  seed: number,
  draws: readonly { readonly shape: readonly [number, number]; readonly fanIn: number }[],
): Tensor<"float64">[] {
  const { next } = torchGenerator(seed);
  return draws.map(({ shape, fanIn }) => {
    const bound = Math.sqrt(6 / fanIn);
    const low = Math.fround(-bound);
    const width = Math.fround(Math.fround(bound) - low);
    const values = new Float64Array(shape[0] * shape[1]);
    for (let i = 0; i < values.length; i++) values[i] = Math.fround((next() & 0xffffff) * 2 ** -24 * width + low); // one rounding, as its fused multiply-add
    return fromData("float64", values, shape);
  });
}

/**
 * `torch.normal(0, deviation, shape, generator=…)` of at least 16 float32 values: Box and Muller's method on uniform
 * numbers in blocks of 16, the last block drawn again where it is not whole. Equal up to the last bits of cos and log.
 */
export function torchNormal(seed: number, shape: readonly number[], deviation: number): Tensor<"float64"> {
  const count = shape.reduce((product, size) => product * size, 1);
  if (count < 16) {
    throw new LoomweightError({
      code: "UNSUPPORTED_SIZE",
      problem: "fewer than 16 normal numbers are drawn another way by PyTorch, which is not built",
      expected: "at least 16 elements",
      found: `[${shape}]`,
    });
  }
  const { next } = torchGenerator(seed);
  const uniform = () => (next() & 0xffffff) * 2 ** -24;
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = uniform();
  const transform = (start: number) => {
    for (let j = start; j < start + 8; j++) {
      const radius = Math.sqrt(-2 * Math.log(Math.fround(1 - values[j])));
      const angle = 2 * Math.PI * values[j + 8];
      values[j] = Math.fround(radius * Math.cos(angle) * deviation);
      values[j + 8] = Math.fround(radius * Math.sin(angle) * deviation);
    }
  };
  for (let start = 0; start + 16 <= count; start += 16) transform(start);
  if (count % 16 !== 0) {
    for (let i = count - 16; i < count; i++) values[i] = uniform();
    transform(count - 16);
  }
  return fromData("float64", values, shape);
}

/** A [rows, largest in] and B [largest out, rank] as PyTorch draws them from a seed. */
export function drawProjections(
  seed: number,
  most: { readonly in: number; readonly out: number },
  rows: number,
  rank: number,
): Tensor[] {
  return torchKaimingUniform(seed, [
    { shape: [rows, most.in], fanIn: most.in },
    { shape: [most.out, rank], fanIn: rank },
  ]);
}

/** diag(rankScale) A and diag(outputScale) B. */
export function scaledFactors({
  A,
  B,
  outputScale,
  rankScale,
}: Readonly<Record<"A" | "B" | "outputScale" | "rankScale", Value>>): { A: Value; B: Value } {
  return { A: mul(A, reshape(rankScale, [-1, 1])), B: mul(B, reshape(outputScale, [-1, 1])) };
}
