import type { KernelFunctions } from "../kernels.ts";
import { wordsInto } from "../philox.ts";

/** The plain twins of assembly/random.ts and assembly/rank.ts. */
export const random: Pick<KernelFunctions, "bernoulliMask" | "bernoulliBits" | "randomWords" | "keepByRank"> = {
  bernoulliMask(out, key, start, probability) {
    const threshold = Math.round(probability * 2 ** 32);
    const words = new Uint32Array(out.length);
    wordsInto(words, key, start);
    for (let i = 0; i < out.length; i++) out[i] = words[i] < threshold ? 1 : 0;
  },
  bernoulliBits(bits, count, key, start, probability) {
    const threshold = Math.round(probability * 2 ** 32);
    const words = new Uint32Array(count);
    wordsInto(words, key, start);
    bits.fill(0, 0, Math.ceil(count / 8));
    for (let i = 0; i < count; i++) if (words[i] < threshold) bits[i >>> 3] |= 1 << (i & 7);
  },
  randomWords(out, key, start) {
    wordsInto(out, key, start);
  },
  keepByRank(bits, first, magnitudes, words, inner, { low, step }) {
    const codes = new Uint32Array(magnitudes.buffer, magnitudes.byteOffset, magnitudes.length);
    for (let row = 0; row < inner; row++) {
      const places = Uint32Array.from({ length: magnitudes.length / inner }, (_, i) => i * inner + row);
      // Bits of magnitudes order as the magnitudes do.
      places.sort((a, b) => (codes[a] & 0x7fffffff) - (codes[b] & 0x7fffffff) || a - b);
      for (let rank = 0; rank < places.length; rank++) {
        const bit = first + places[rank];
        if (words[places[rank]] < (low + step * rank) * 2 ** 32) bits[bit >>> 3] |= 1 << (bit & 7);
      }
    }
  },
};
