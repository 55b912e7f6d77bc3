/**
 * The loops over one block of a weight: range, scale, codes. Arithmetic is float32 throughout, with the code's offset
 * and the half of rounding added before the fraction is cut off, as onnxruntime's kernels do it.
 */

/** Smallest and largest of values [from, to) and 0, into `range`; false when one is NaN or infinite. */
export function rangeOf(range: Float64Array, values: Float32Array, from: number, to: number): boolean {
  let low = 0;
  let high = 0;
  for (let i = from; i < to; i++) {
    low = Math.min(low, values[i]); // NaN stays
    high = Math.max(high, values[i]);
  }
  range[0] = low + 0; // −0 becomes 0
  range[1] = high;
  return high - low < Number.POSITIVE_INFINITY;
}

/**
 * Packs codes ⌊value · inverse + offset⌋, held within 0 .. 2^bits − 1, of values [from, to) at byte `position`;
 * `offset` = zero point + ½. Unused slots of the last byte are 0.
 */
export function packCodes(
  packed: Uint8Array,
  position: number,
  values: Float32Array,
  from: number,
  to: number,
  inverse: number,
  offset: number,
  bits: number,
): void {
  if (Math.abs(inverse) > largestFloat) packFarCodes(packed, position, values, from, to, inverse, offset, bits);
  else if (bits === 4) pack4(packed, position, values, from, to, inverse, offset);
  else if (bits === 8) pack8(packed, position, values, from, to, inverse, offset);
  else pack2(packed, position, values, from, to, inverse, offset);
}

const largestFloat = 3.4028234663852886e38;

// Nothing is below −1 here, so cutting the fraction off gives 0 at least.

function pack4(
  packed: Uint8Array,
  position: number,
  values: Float32Array,
  from: number,
  to: number,
  inverse: number,
  offset: number,
): void {
  const even = to - ((to - from) & 1);
  let at = position;
  for (let i = from; i < even; i += 2, at++) {
    const first = Math.fround(Math.fround(values[i] * inverse) + offset) | 0;
    const second = Math.fround(Math.fround(values[i + 1] * inverse) + offset) | 0;
    packed[at] = Math.min(first, 15) | (Math.min(second, 15) << 4);
  }
  if (even < to) packed[at] = Math.min(Math.fround(Math.fround(values[even] * inverse) + offset) | 0, 15);
}

function pack8(
  packed: Uint8Array,
  position: number,
  values: Float32Array,
  from: number,
  to: number,
  inverse: number,
  offset: number,
): void {
  for (let i = from, at = position; i < to; i++, at++) {
    packed[at] = Math.min(Math.fround(Math.fround(values[i] * inverse) + offset) | 0, 255);
  }
}

function pack2(
  packed: Uint8Array,
  position: number,
  values: Float32Array,
  from: number,
  to: number,
  inverse: number,
  offset: number,
): void {
  for (let i = from, at = position; i < to; i += 4, at++) {
    const end = Math.min(i + 4, to);
    let byte = 0;
    for (let j = i, shift = 0; j < end; j++, shift += 2) {
      byte |= Math.min(Math.fround(Math.fround(values[j] * inverse) + offset) | 0, 3) << shift;
    }
    packed[at] = byte;
  }
}

/** Where a scale is so small that its inverse is infinite: zeros, for which 0 · ∞ says nothing, take the zero point. */
function packFarCodes(
  packed: Uint8Array,
  position: number,
  values: Float32Array,
  from: number,
  to: number,
  inverse: number,
  offset: number,
  bits: number,
): void {
  const top = 2 ** bits - 1;
  packed.fill(0, position, position + Math.ceil(((to - from) * bits) / 8));
  for (let i = from; i < to; i++) {
    const above = values[i] !== 0 && values[i] > 0 === inverse > 0;
    const code = values[i] === 0 ? Math.floor(offset) : above ? top : 0;
    const bit = (i - from) * bits;
    packed[position + (bit >> 3)] |= code << (bit & 7);
  }
}
