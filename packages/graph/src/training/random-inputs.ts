import { createRandom, elementCount, fromData, type Random, type Tensor } from "@loomweight/tensor";
import { input } from "../inputs.ts";
import type { GraphValue } from "../value.ts";

/**
 * Randomness as inputs of a graph, since no random operator runs alike on every engine: each call declares an input,
 * which the training loop fills at every step from (seed, step, name). Names are unique per loss.
 */
export interface RandomInputs {
  /** 1 with probability 1 - rate, divided by 1 - rate, else 0: what dropout multiplies by. */
  keep(name: string, shape: readonly number[], rate: number): GraphValue;
  /** Uniform in 0 .. 1. */
  uniform(name: string, shape: readonly number[]): GraphValue;
  /** Normal with mean 0 and deviation 1. */
  normal(name: string, shape: readonly number[]): GraphValue;
}

/** One input that is filled at random. */
export interface RandomInput {
  readonly value: GraphValue;
  readonly draw: "keep" | "uniform" | "normal";
  readonly rate: number;
}

/** Declares random inputs; asking again for a name gives the same input. */
export function createRandomInputs(): { inputs: RandomInputs; declared: ReadonlyMap<string, RandomInput> } {
  const declared = new Map<string, RandomInput>();
  const declare = (draw: RandomInput["draw"], name: string, shape: readonly number[], rate = 0) => {
    const known = declared.get(name);
    if (known !== undefined) return known.value;
    const value = input(`random/${name}`, "float32", shape);
    declared.set(name, { value, draw, rate });
    return value;
  };
  return {
    declared,
    inputs: {
      keep: (name, shape, rate) => declare("keep", name, shape, rate),
      uniform: (name, shape) => declare("uniform", name, shape),
      normal: (name, shape) => declare("normal", name, shape),
    },
  };
}

/** Values of the declared inputs at one step: a function of (seed, step, name) alone. */
export function drawInputs(
  declared: ReadonlyMap<string, RandomInput>,
  seed: number,
  step: number | string,
): Record<string, Tensor> {
  const drawn: Record<string, Tensor> = {};
  if (declared.size === 0) return drawn;
  const root = createRandom(seed, `training step ${step}`);
  for (const [name, { value, draw, rate }] of declared) {
    const shape = value.shape as readonly number[];
    const numbers = new Float32Array(elementCount(shape));
    fill(numbers, root.child(name), draw, rate);
    drawn[value.name as string] = fromData("float32", numbers, shape);
  }
  return drawn;
}

function fill(numbers: Float32Array, random: Random, draw: RandomInput["draw"], rate: number): void {
  if (draw === "normal") random.normalsInto(numbers);
  else if (draw === "uniform") random.uniformsInto(numbers);
  else fillKept(numbers, random, rate);
}

function fillKept(numbers: Float32Array, random: Random, rate: number): void {
  const words = new Uint32Array(numbers.length);
  random.uint32sInto(words);
  const threshold = rate * 2 ** 32;
  const scale = 1 / (1 - rate);
  for (let i = 0; i < words.length; i++) numbers[i] = words[i] < threshold ? 0 : scale;
}
