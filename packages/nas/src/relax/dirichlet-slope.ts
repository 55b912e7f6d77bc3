/**
 * How the parts of a Dirichlet sample p move with its concentrations a when the quantiles are held (implicit
 * reparameterization, Figurnov et al. 2018, arXiv:1805.08498): ∂p_j/∂a_i = slope_i · (δ_ij − p_j), so
 * dL/da_i = slope_i · (dL/dp_i − Σ_j p_j dL/dp_j). slope_i = (dp_i/da_i) / (1 − p_i) for p_i ~ Beta(a_i, Σa − a_i), with
 * dp/da = −∂_a I_p(a, b) / density(p), computed by quadrature over the smaller tail to about 12 digits.
 */
export function dirichletSlopes(sample: readonly number[], concentrations: readonly number[]): number[] {
  const total = concentrations.reduce((sum, each) => sum + each, 0);
  return concentrations.map((a, i) => betaSlope(sample[i], a, total - a));
}

function betaSlope(p: number, a: number, b: number): number {
  // Samples that round to 0 or 1 take the nearest point inside.
  const x = Math.min(Math.max(p, 1e-300), 1 - 2 ** -53);
  const complement = 1 - x;
  const shift = digamma(a) - digamma(a + b);
  const logX = Math.log(x);
  if (x < a / (a + b)) {
    // −∫₀ˣ (ln t − shift) t^(a−1) (1 − t)^(b−1) dt over density(x), t = x u
    const lower = integrate(a, (logU) => {
      const u = Math.exp(logU);
      return (logX + logU - shift) * Math.exp(a * logU + (b - 1) * Math.log((1 - x * u) / complement));
    });
    return (-lower * x) / complement;
  }
  // The same from above, where the whole integral is 0: +∫ₓ¹, t = 1 − (1 − x) v
  const upper = integrate(b, (logV) => {
    const t = 1 - complement * Math.exp(logV);
    return (Math.log(t) - shift) * Math.exp(b * logV + (a - 1) * Math.log(t / x));
  });
  return upper;
}

/** ∫₀¹ f(u) / u du for f(ln u) that falls as u^power towards 0: the double exponential rule of Takahasi and Mori. */
function integrate(power: number, f: (logU: number) => number): number {
  const from = -Math.asinh(60 / (Math.PI * Math.min(power, 1)));
  const step = 1 / 24;
  let sum = 0;
  for (let t = from; t < 3.7; t += step) {
    const s = Math.PI * Math.sinh(t);
    const above = 1 / (1 + Math.exp(s)); // 1 − u
    const logU = s < 0 ? s - Math.log1p(Math.exp(s)) : -Math.log1p(Math.exp(-s));
    const value = f(logU) * Math.PI * Math.cosh(t) * above; // du/u = π cosh t · (1 − u) dt
    if (Number.isFinite(value)) sum += value;
  }
  return sum * step;
}

/** ψ(x) for x > 0: the recurrence up to 10, then the asymptotic series. */
export function digamma(x: number): number {
  let [value, at] = [0, x];
  for (; at < 10; at++) value -= 1 / at;
  const square = 1 / (at * at);
  const series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square * (1 / 132)))));
  return value + Math.log(at) - 0.5 / at - series;
}
