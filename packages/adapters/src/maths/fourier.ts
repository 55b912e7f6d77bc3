/** Places and values of the few entries of a spectrum [rows, columns] that are not zero. */
export interface SparseSpectrum {
  readonly rows: ArrayLike<number>;
  readonly columns: ArrayLike<number>;
  readonly values: ArrayLike<number>;
}

/**
 * Rows [start, start + count) of the real part of the inverse two-dimensional Fourier transform of a sparse spectrum
 * of a matrix [height, width], row-major: sums over the entries along columns, fast transforms along rows.
 */
export function inverseFourierRows(
  { rows, columns, values }: SparseSpectrum,
  { height, width }: { readonly height: number; readonly width: number },
  start: number,
  count: number,
): Float64Array {
  const out = new Float64Array(count * width);
  const down = circle(height);
  const transform = fourierTransform(width);
  const [re, im] = [new Float64Array(width), new Float64Array(width)];
  for (let i = 0; i < count; i++) {
    re.fill(0);
    im.fill(0);
    for (let f = 0; f < values.length; f++) {
      const at = ((start + i) * rows[f]) % height;
      re[columns[f]] += values[f] * down.cos[at];
      im[columns[f]] += values[f] * down.sin[at];
    }
    const { re: row } = transform(re, im);
    for (let j = 0; j < width; j++) out[i * width + j] = row[j] / (height * width);
  }
  return out;
}

interface Circle {
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

/** cos and sin of 2πk / size. */
export function circle(size: number): Circle {
  const angle = (k: number) => (2 * Math.PI * k) / size;
  return {
    cos: Float64Array.from({ length: size }, (_, k) => Math.cos(angle(k))),
    sin: Float64Array.from({ length: size }, (_, k) => Math.sin(angle(k))),
  };
}

/**
 * y[k] = Σⱼ x[j] e^{+2πi jk / size} for any size: Cooley and Tukey 1965 by prime factors, O(size · Σ factors). The result
 * is overwritten by the next call.
 */
export function fourierTransform(
  size: number,
): (re: Float64Array, im: Float64Array) => { readonly re: Float64Array; readonly im: Float64Array } {
  const factors = primeFactors(size);
  const { cos, sin } = circle(size);
  const most = Math.max(1, ...factors);
  const [outRe, outIm] = [new Float64Array(size), new Float64Array(size)];
  const [partRe, partIm] = [new Float64Array(most), new Float64Array(most)];

  const visit = (
    re: Float64Array,
    im: Float64Array,
    from: number,
    step: number,
    to: number,
    n: number,
    depth: number,
  ) => {
    if (n === 1) {
      outRe[to] = re[from];
      outIm[to] = im[from];
      return;
    }
    const p = factors[depth];
    const m = n / p;
    for (let q = 0; q < p; q++) visit(re, im, from + q * step, step * p, to + q * m, m, depth + 1);
    for (let k = 0; k < m; k++) {
      for (let q = 0; q < p; q++) {
        const [x, y] = [outRe[to + q * m + k], outIm[to + q * m + k]];
        const at = (q * k * step) % size; // step = size / n
        partRe[q] = x * cos[at] - y * sin[at];
        partIm[q] = x * sin[at] + y * cos[at];
      }
      for (let r = 0; r < p; r++) {
        let [sumRe, sumIm] = [partRe[0], partIm[0]];
        for (let q = 1; q < p; q++) {
          const at = ((q * r) % p) * (size / p);
          sumRe += partRe[q] * cos[at] - partIm[q] * sin[at];
          sumIm += partRe[q] * sin[at] + partIm[q] * cos[at];
        }
        outRe[to + r * m + k] = sumRe;
        outIm[to + r * m + k] = sumIm;
      }
    }
  };
  return (re, im) => {
    visit(re, im, 0, 1, 0, size, 0);
    return { re: outRe, im: outIm };
  };
}

function primeFactors(size: number): number[] {
  const factors: number[] = [];
  let rest = size;
  for (let p = 2; p * p <= rest; p++) {
    for (; rest % p === 0; rest /= p) factors.push(p);
  }
  return rest > 1 ? [...factors, rest] : factors;
}
