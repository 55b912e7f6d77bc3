import { LoomweightError } from "./errors.ts";
import { cosSinTurns, logarithm } from "./math.ts";
import { philox, wordsInto } from "./philox.ts";

/** The 64-bit key of a stream, as two 32-bit words. */
export type RandomKey = readonly [number, number];

/**
 * Random numbers by counter: the value at index i depends on key and i alone, so tiles and workers start anywhere and
 * results do not depend on how work is split. `uint32`, `uniform` and `normal` are three views of one stream of words:
 * for independent draws of different kinds take a `child`.
 */
export interface Random {
  readonly key: RandomKey;
  /** The generator keyed by this one's key and `name`. */
  child(name: string): Random;
  /** A whole number, 0 <= x < 2^32. */
  uint32(index: number): number;
  /** 0 <= x < 1, a multiple of 2^-53. */
  uniform(index: number): number;
  /** Normal with mean 0 and deviation 1; magnitude at most 8.6. */
  normal(index: number): number;
  uint32sInto(out: Uint32Array, options?: { start?: number }): void;
  /** out[i] uniform in low .. high (default 0 .. 1) at index start + i. */
  uniformsInto(out: Float64Array | Float32Array, options?: { start?: number; low?: number; high?: number }): void;
  /** out[i] normal (default mean 0, deviation 1) at index start + i. */
  normalsInto(out: Float64Array | Float32Array, options?: { start?: number; mean?: number; deviation?: number }): void;
  /** 0 .. n - 1 in random order. */
  permutation(n: number): Uint32Array;
}

/**
 * A generator keyed by seed and name: Philox4x32-10 (Salmon et al. 2011) over the block index; normals by Box and
 * Muller with logarithm and cosine of our own. The same bytes on every platform. `seed`: a whole number or bigint of 64
 * bits; throws `INVALID_SEED` otherwise.
 */
export function createRandom(seed: number | bigint, name: string): Random {
  const valid = typeof seed === "bigint" ? seed >= -(2n ** 63n) && seed < 2n ** 64n : Number.isSafeInteger(seed);
  if (!valid) {
    throw new LoomweightError({
      code: "INVALID_SEED",
      problem: "a random generator cannot be seeded",
      option: "seed",
      expected: "a whole number (a bigint beyond 2^53)",
      found: String(seed),
    });
  }
  const bits = BigInt.asUintN(64, BigInt(seed));
  return randomOf(absorb([Number(bits & 0xffffffffn), Number(bits >> 32n)], name));
}

/**
 * Mixes text into a key: its UTF-8 bytes, ended by 0x80 and zeros up to a multiple of 16, are the counters of Philox
 * blocks, each keyed by two words of the block before.
 */
function absorb(key: RandomKey, text: string): RandomKey {
  const bytes = new TextEncoder().encode(text);
  const padded = new Uint8Array(16 * (Math.floor(bytes.length / 16) + 1));
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  const state = new Uint32Array([key[0], key[1], 0, 0]);
  for (let at = 0; at < padded.length; at += 16) {
    const [c0, c1, c2, c3] = [0, 4, 8, 12].map((offset) => view.getUint32(at + offset, true));
    philox(state, 0, c0, c1, c2, c3, state[0], state[1]);
  }
  return [state[0], state[1]];
}

/** Two words to a multiple of 2^-53 in [0, 1). */
function toUniform(first: number, second: number): number {
  return ((first >>> 5) * 2 ** 26 + (second >>> 6)) * 2 ** -53;
}

function randomOf(key: RandomKey): Random {
  // Both views advance by blocks of four words: two uniforms, or the two normals of one Box-Muller pair.
  const block = new Uint32Array(4);
  const chunk = new Uint32Array(2048);

  const pairs = (
    out: Float64Array | Float32Array,
    start: number,
    draw: (words: Uint32Array, at: number, odd: boolean) => number,
  ): void => {
    checkRange(start, out.length);
    let i = 0;
    while (i < out.length) {
      const first = start + i;
      const aligned = first - (first % 2);
      wordsInto(chunk, key, 2 * aligned);
      const count = Math.min(out.length - i, chunk.length / 2 - (first - aligned));
      for (let j = 0; j < count; j++) {
        const index = first - aligned + j;
        out[i + j] = draw(chunk, 2 * (index - (index % 2)), index % 2 === 1);
      }
      i += count;
    }
  };

  return {
    key,
    child: (name) => randomOf(absorb(key, name)),
    uint32(index) {
      checkRange(index, 1);
      wordsInto(block.subarray(0, 1), key, index);
      return block[0];
    },
    uniform(index) {
      checkRange(index, 1);
      wordsInto(block.subarray(0, 2), key, 2 * index);
      return toUniform(block[0], block[1]);
    },
    normal(index) {
      checkRange(index, 1);
      wordsInto(block, key, 2 * (index - (index % 2)));
      return boxMuller(block, 0, index % 2 === 1);
    },
    uint32sInto(out, { start = 0 } = {}) {
      checkRange(start, out.length);
      wordsInto(out, key, start);
    },
    uniformsInto(out, { start = 0, low = 0, high = 1 } = {}) {
      const span = high - low;
      pairs(
        out,
        start,
        (words, at, odd) => low + span * toUniform(words[odd ? at + 2 : at], words[odd ? at + 3 : at + 1]),
      );
    },
    normalsInto(out, { start = 0, mean = 0, deviation = 1 } = {}) {
      pairs(out, start, (words, at, odd) => mean + deviation * boxMuller(words, at, odd));
    },
    permutation(n) {
      if (!Number.isSafeInteger(n) || n < 0 || n >= 2 ** 32) throw badRange("a length from 0 to 4294967295", n);
      const order = Uint32Array.from({ length: n }, (_, i) => i);
      const draws = new Float64Array(Math.max(0, n - 1));
      randomOf(absorb(key, "permutation")).uniformsInto(draws);
      for (let i = n - 1; i > 0; i--) {
        const j = Math.floor(draws[i - 1] * (i + 1)); // Fisher and Yates
        const held = order[i];
        order[i] = order[j];
        order[j] = held;
      }
      return order;
    },
  };
}

/** One of the two normals of four words: radius times cosine for even, times sine for odd indices. */
function boxMuller(words: Uint32Array, at: number, odd: boolean): number {
  const radius = Math.sqrt(-2 * logarithm(1 - toUniform(words[at], words[at + 1])));
  const { cos, sin } = cosSinTurns(toUniform(words[at + 2], words[at + 3]));
  return radius * (odd ? sin : cos);
}

/** Words 2 i and 2 i + 1 must be below 2^53. */
function checkRange(start: number, count: number): void {
  if (!Number.isSafeInteger(start) || start < 0 || start + count > 2 ** 51) {
    throw badRange("indices from 0 to 2^51 - 1", start);
  }
}

function badRange(expected: string, found: number): LoomweightError {
  return new LoomweightError({
    code: "RANDOM_RANGE",
    problem: "no random numbers there",
    expected,
    found: String(found),
  });
}
