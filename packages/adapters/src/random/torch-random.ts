import { LoomweightError } from "@loomweight/tensor";

/** PyTorch's CPU generator after `manual_seed(seed)`: mt19937 (Matsumoto & Nishimura 1998) seeded by its low 32 bits. */
export interface TorchGenerator {
  /** The next 32 bits. */
  next(): number;
}

const size = 624;
const shift = 397;

export function torchGenerator(seed: number): TorchGenerator {
  const state = new Uint32Array(size);
  state[0] = seed >>> 0;
  for (let i = 1; i < size; i++) {
    const before = state[i - 1] ^ (state[i - 1] >>> 30);
    state[i] = Math.imul(1812433253, before) + i;
  }
  let at = size;
  return {
    next() {
      if (at === size) {
        twist(state);
        at = 0;
      }
      let y = state[at++];
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      return (y ^ (y >>> 18)) >>> 0;
    },
  };
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < size; i++) {
    const y = (state[i] & 0x80000000) | (state[(i + 1) % size] & 0x7fffffff);
    state[i] = state[(i + shift) % size] ^ (y >>> 1) ^ ((y & 1) * 0x9908b0df);
  }
}

/** From this length on PyTorch draws 64 bits for each position. */
const longPermutation = Math.floor(0xffffffff / 20);

/**
 * The first `count` entries of `torch.randperm(length)` under a generator seeded with `seed`: entry i changes places
 * with entry i + (32 bits mod (length − i)). Only what the first entries need is kept. Throws `UNSUPPORTED_SIZE`.
 */
export function torchPermutation(length: number, count: number, seed: number): Float64Array {
  if (length >= longPermutation) {
    throw new LoomweightError({
      code: "UNSUPPORTED_SIZE",
      problem: "a random permutation of this length is drawn another way by PyTorch, which is not built",
      expected: `less than ${longPermutation} elements`,
      found: String(length),
    });
  }
  const { next } = torchGenerator(seed);
  const moved = new Map<number, number>();
  const first = new Float64Array(Math.min(count, length));
  for (let i = 0; i < first.length; i++) {
    // The last position is never drawn for.
    const from = i === length - 1 ? i : i + (next() % (length - i));
    first[i] = moved.get(from) ?? from;
    moved.set(from, moved.get(i) ?? i);
    moved.delete(i);
  }
  return first;
}
