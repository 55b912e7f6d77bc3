import { contiguousData, type Tensor } from "@loomweight/tensor";
export function toFloat32(t: Tensor): Float32Array {
  const data = contiguousData(t) as unknown as ArrayLike<number>;
  if (t.dtype === "float32") return data as Float32Array;
  if (t.dtype === "float64") return Float32Array.from(data);
  const out = new Float32Array(data.length);
  const bits = new Uint32Array(out.buffer);
  if (t.dtype === "bfloat16") for (let i = 0; i < out.length; i++) bits[i] = data[i] << 16;
  else
    for (let i = 0; i < out.length; i++) {
      const h = data[i], e = (h >> 10) & 31, m = h & 1023;
      const v = e === 0 ? m * 2 ** -24 : e === 31 ? (m ? Number.NaN : Number.POSITIVE_INFINITY) : (1 + m / 1024) * 2 ** (e - 15);
      out[i] = h & 0x8000 ? -v : v;
    }
  return out;
}
