import type { Random } from "@loomweight/kernels";

/**
 * A point of the simplex drawn from the Dirichlet distribution with these concentrations, each above 0: normalized gamma
 * variates, brought to logarithms first, so that concentrations near 0 give no 0 / 0.
 */
export function dirichlet(concentrations: readonly number[], random: Random): number[] {
  const logs = concentrations.map((each, i) => logGamma(each, random.child(`${i}`)));
  const largest = Math.max(...logs);
  const parts = logs.map((log) => Math.exp(log - largest));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => part / total);
}

/** Logarithm of a gamma variate, by Marsaglia and Tsang 2000; for shapes below 1 through a larger one. */
function logGamma(shape: number, random: Random): number {
  if (shape < 1) return logGamma(shape + 1, random) + Math.log(1 - random.child("boost").uniform(0)) / shape;
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  const uniforms = random.child("accept");
  for (let i = 0; ; i++) {
    const x = random.normal(i);
    const v = (1 + c * x) ** 3;
    if (v <= 0) continue;
    if (Math.log(1 - uniforms.uniform(i)) < 0.5 * x * x + d - d * v + d * Math.log(v)) return Math.log(d * v);
  }
}
