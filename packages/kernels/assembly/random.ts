// Philox4x32-10 (Salmon et al. 2011): four 32-bit words from a 128-bit counter and a 64-bit key. src/philox.ts is the
// reference.

/** out[i] = 1 where word (start + i) of the stream is below `threshold` (0 .. 2^32), else 0. */
export function bernoulliMask(out: usize, n: i32, key0: u32, key1: u32, start: f64, threshold: f64): void {
  const first = <u64>start;
  const limit = <u64>threshold;
  let block = first >> 2;
  let skip = <i32>(first & 3);
  let i = 0;
  while (i < n) {
    let c0 = <u32>block;
    let c1 = <u32>(block >> 32);
    let c2: u32 = 0;
    let c3: u32 = 0;
    let k0 = key0;
    let k1 = key1;
    for (let round = 0; round < 10; round++) {
      const p0 = <u64>c0 * 0xd2511f53;
      const p1 = <u64>c2 * 0xcd9e8d57;
      c0 = <u32>(p1 >> 32) ^ c1 ^ k0;
      c1 = <u32>p1;
      c2 = <u32>(p0 >> 32) ^ c3 ^ k1;
      c3 = <u32>p0;
      k0 += 0x9e3779b9;
      k1 += 0xbb67ae85;
    }
    if (skip == 0 && i + 4 <= n) {
      store<f64>(out, <f64>(<u64>c0 < limit));
      store<f64>(out, <f64>(<u64>c1 < limit), 8);
      store<f64>(out, <f64>(<u64>c2 < limit), 16);
      store<f64>(out, <f64>(<u64>c3 < limit), 24);
      out += 32;
      i += 4;
    } else {
      for (let word = skip; word < 4 && i < n; word++) {
        const value = word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
        store<f64>(out, <f64>(<u64>value < limit));
        out += 8;
        i++;
      }
      skip = 0;
    }
    block++;
  }
}
