import { add, floor, mul, sub, type Value } from "@loomweight/graph";

/** π as a sum of parts of few bits: their products with whole numbers up to 2^20 are exact in float32. */
const piParts = [3, 0.140625, 0.00091552734375, 4.9591064453125e-5, 2.535181589990998e-6];
/** sin r = r + r · z · polynomial(z), cos r = 1 + z · polynomial(z), z = r², on |r| ≤ π / 2: fitted to 5e-9 and 5e-8. */
const sinCoefficients = [-0.16666657091629897, 0.008333017171167674, -0.0001980660644062143, 2.600035267741503e-6];
const cosCoefficients = [-0.499999323, 0.0416639884, -0.00138559189, 2.3194186e-5];

/**
 * Cosine and sine of float32 angles, right to 2e-7 for angles up to three million, by products, sums and Floor alone:
 * angle = k · π + r, and of odd k both change their sign. The operators Cos and Sin will not do: those of GPUs are off by
 * 5e-4 and, for angles of thousands, by more, and onnxruntime-web's build for WebGPU, which transformers.js runs in pages,
 * has no float64.
 */
export function cosSin(angles: Value): { cos: Value; sin: Value } {
  const k = floor(add(mul(angles, 1 / Math.PI), 0.5));
  const r = piParts.reduce((rest, part) => sub(rest, mul(k, part)), angles);
  const z = mul(r, r);
  const sign = sub(1, mul(sub(k, mul(floor(mul(k, 0.5)), 2)), 2));
  const sine = add(r, mul(mul(r, z), polynomial(z, sinCoefficients)));
  return { cos: mul(sign, add(1, mul(z, polynomial(z, cosCoefficients)))), sin: mul(sign, sine) };
}

/** c₀ + z · (c₁ + z · (c₂ + …)). */
function polynomial(z: Value, coefficients: readonly number[]): Value {
  const [last, ...others] = [...coefficients].reverse();
  return others.reduce<Value>((sum, each, i) => add(mul(z, i === 0 ? last : sum), each), z);
}
