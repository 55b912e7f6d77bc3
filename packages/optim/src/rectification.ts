/** Length ρₜ of the simple moving average that an exponential one of rate `beta2` amounts to after `step` steps. */
export function averageLength(beta2: number, step: number): number {
  const power = beta2 ** step;
  return longestLength(beta2) - (2 * step * power) / (1 - power);
}

/** Its limit ρ∞ for many steps. */
export function longestLength(beta2: number): number {
  return 2 / (1 - beta2) - 1;
}

/** r(ρₜ), by which an adaptive step is scaled; defined above ρₜ = 4. Liu et al. 2020, arXiv:1908.03265, §4. */
export function rectification(beta2: number, step: number): number {
  const longest = longestLength(beta2);
  const length = averageLength(beta2, step);
  return Math.sqrt(((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length));
}
