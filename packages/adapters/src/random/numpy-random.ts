/** numpy's `default_rng(seed)`: PCG64 (O'Neill 2014, XSL-RR) seeded by SeedSequence. */
export interface NumpyGenerator {
  /** The next 32 bits. */
  next32(): number;
  /** A whole number from 0 to `most` (< 2^32), as numpy draws it (Lemire 2019). */
  upTo(most: number): number;
}

const mask32 = 0xffffffffn;
const mask64 = (1n << 64n) - 1n;
const mask128 = (1n << 128n) - 1n;
const multiplier = 47026247687942121848144207491837523525n;

/** A generator seeded by a whole number of at least 0 and below 2^32. */
export function numpyGenerator(seed: number): NumpyGenerator {
  const [a, b, c, d] = seedWords(seed);
  const increment = ((((c << 64n) | d) << 1n) | 1n) & mask128;
  let state = (increment + ((a << 64n) | b)) & mask128;
  state = (state * multiplier + increment) & mask128;
  let held: number | undefined;
  const next32 = () => {
    if (held !== undefined) {
      const value = held;
      held = undefined;
      return value;
    }
    state = (state * multiplier + increment) & mask128;
    const folded = (state >> 64n) ^ (state & mask64);
    const turn = state >> 122n;
    const bits = ((folded >> turn) | (folded << (64n - turn))) & mask64;
    held = Number(bits >> 32n);
    return Number(bits & mask32);
  };
  return {
    next32,
    upTo(most) {
      if (most === 0) return 0;
      const range = most + 1;
      let [high, low] = product(next32(), range);
      if (low < range) {
        const threshold = (2 ** 32 - range) % range;
        while (low < threshold) [high, low] = product(next32(), range);
      }
      return high;
    },
  };
}

/** High and low 32 bits of a product of two numbers of 32 bits, without leaving 53 bits. */
function product(a: number, b: number): [number, number] {
  const upper = (a >>> 16) * b;
  const rest = (upper % 65_536) * 65_536 + (a & 0xffff) * b;
  return [Math.floor(upper / 65_536) + Math.floor(rest / 2 ** 32), rest % 2 ** 32];
}

/** SeedSequence(seed).generate_state(4, uint64): O'Neill's seed_seq_fe with numpy's constants. */
function seedWords(seed: number): bigint[] {
  let hash = 0x43b0d7e5;
  const mixed = (value: number) => {
    let x = (value ^ hash) >>> 0;
    hash = Math.imul(hash, 0x931e8875) >>> 0;
    x = Math.imul(x, hash) >>> 0;
    return (x ^ (x >>> 16)) >>> 0;
  };
  const joined = (x: number, y: number) => {
    const value = (Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const pool = [0, 1, 2, 3].map((i) => mixed(i === 0 ? seed >>> 0 : 0));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = joined(pool[to], mixed(pool[from]));
  }
  let constant = 0x8b51f9dd;
  const words = Array.from({ length: 8 }, (_, i) => {
    let value = (pool[i % 4] ^ constant) >>> 0;
    constant = Math.imul(constant, 0x58f38ded) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  });
  return [0, 2, 4, 6].map((i) => BigInt(words[i]) | (BigInt(words[i + 1]) << 32n));
}

/** `shuffle(values)`: entries change places from the last on, with places drawn by masking (and drawing again). */
export function shuffleInto(values: Int32Array, { next32 }: NumpyGenerator): void {
  for (let i = values.length - 1; i > 0; i--) {
    const mask = 2 ** (32 - Math.clz32(i)) - 1;
    let j = (next32() & mask) >>> 0;
    while (j > i) j = (next32() & mask) >>> 0;
    swap(values, i, j);
  }
}

function swap(values: Int32Array, i: number, j: number): void {
  const held = values[i];
  values[i] = values[j];
  values[j] = held;
}

/** The shuffle of `choice`, from the last entry down to `first`. */
function shuffleFromInto(values: Int32Array, generator: NumpyGenerator, first: number): void {
  for (let i = values.length - 1; i >= first; i--) swap(values, i, generator.upTo(i));
}

/** `choice(size, count, replace=False)`: numpy's tail shuffle for many of a large number, else Floyd's algorithm. */
export function chooseWithoutReplacement(generator: NumpyGenerator, size: number, count: number): Int32Array {
  if (size > 10_000 && count > Math.floor(size / 50)) {
    const all = Int32Array.from({ length: size }, (_, i) => i);
    shuffleFromInto(all, generator, Math.max(size - count, 1));
    return all.slice(size - count);
  }
  const chosen = new Int32Array(count);
  const known = new Set<number>();
  for (let j = size - count; j < size; j++) {
    const drawn = generator.upTo(j);
    const value = known.has(drawn) ? j : drawn;
    known.add(value);
    chosen[j - size + count] = value;
  }
  shuffleFromInto(chosen, generator, 1);
  return chosen;
}
