/** The upper 32 bits of a * b, both taken as unsigned, in 32-bit integer arithmetic. */
function multiplyHigh(a: number, b: number): number {
  const a1 = a >>> 16;
  const a0 = a & 0xffff;
  const b1 = b >>> 16;
  const b0 = b & 0xffff;
  const middle = (Math.imul(a1, b0) + (Math.imul(a0, b0) >>> 16)) | 0; // below 2^32: nothing is lost
  const carry = (Math.imul(a0, b1) + (middle & 0xffff)) | 0;
  return (Math.imul(a1, b1) + (middle >>> 16) + (carry >>> 16)) | 0;
}

/**
 * Philox4x32-10, the counter-based generator of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"):
 * four 32-bit words into `out` from `at` on, from the 128-bit counter c0 (lowest) .. c3 and the 64-bit key k0, k1.
 */
export function philox(
  out: Uint32Array,
  at: number,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): void {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(c0, 0xd2511f53);
    const low0 = Math.imul(c0, 0xd2511f53);
    const high1 = multiplyHigh(c2, 0xcd9e8d57);
    const low1 = Math.imul(c2, 0xcd9e8d57);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  out[at] = c0;
  out[at + 1] = c1;
  out[at + 2] = c2;
  out[at + 3] = c3;
}

/** Words start, start + 1, … of the stream of `key`: word i is word i mod 4 of the block with counter floor(i / 4). */
export function wordsInto(out: Uint32Array, key: readonly [number, number], start: number): void {
  const block = new Uint32Array(4);
  let counter = Math.floor(start / 4);
  let skip = start % 4;
  let i = 0;
  while (i < out.length) {
    const whole = skip === 0 && i + 4 <= out.length;
    const target = whole ? out : block;
    philox(target, whole ? i : 0, counter | 0, Math.floor(counter / 2 ** 32) | 0, 0, 0, key[0] | 0, key[1] | 0);
    if (whole) i += 4;
    else {
      for (let word = skip; word < 4 && i < out.length; word++) out[i++] = block[word];
      skip = 0;
    }
    counter++;
  }
}
