/**
 * Codes of 2, 4 or 8 bits in bytes, as MatMulNBits reads them: the lowest bits of a byte hold the first code. Whatever
 * lies beyond the last code of a row is zero unless a `filler` is given.
 */

/** Bytes that `count` codes of `bits` take. */
export function packedLength(count: number, bits: number): number {
  return Math.ceil((count * bits) / 8);
}

/** Packs codes [start, start + count) into `out` from `position` on; unused slots of the last byte take `filler`. */
export function packInto(
  out: Uint8Array,
  position: number,
  codes: Uint8Array,
  start: number,
  count: number,
  bits: number,
  filler = 0,
): void {
  if (bits === 8) {
    for (let i = 0; i < count; i++) out[position + i] = codes[start + i];
    return;
  }
  if (bits === 4) {
    const pairs = count >> 1;
    for (let i = 0, at = start; i < pairs; i++, at += 2) out[position + i] = codes[at] | (codes[at + 1] << 4);
    if ((count & 1) === 1) out[position + pairs] = codes[start + count - 1] | (filler << 4);
    return;
  }
  const perByte = 8 / bits;
  const length = Math.ceil(count / perByte);
  for (let i = 0; i < length; i++) {
    let byte = 0;
    for (let slot = 0; slot < perByte; slot++) {
      const at = i * perByte + slot;
      byte |= (at < count ? codes[start + at] : filler) << (slot * bits);
    }
    out[position + i] = byte;
  }
}

/** Code number `index` of a packed row that begins at byte `position`. */
export function codeAt(packed: Uint8Array, position: number, index: number, bits: number): number {
  if (bits === 8) return packed[position + index];
  const bit = index * bits;
  return (packed[position + (bit >> 3)] >> (bit & 7)) & ((1 << bits) - 1);
}

/** Unpacks `count` codes of a packed row into `out` from `start` on. */
export function unpackInto(
  out: Uint8Array,
  start: number,
  packed: Uint8Array,
  position: number,
  count: number,
  bits: number,
): void {
  for (let i = 0; i < count; i++) out[start + i] = codeAt(packed, position, i, bits);
}
