import { LoomweightError } from "@loomweight/tensor";

/** What is left of an adapter's change of a weight after the weight was coded again. */
export interface KeptShare {
  /** Initializer that holds the weight or its codes. */
  readonly initializer: string;
  /** How it is stored: "4 bits in blocks of 32". */
  readonly form: string;
  /**
   * ⟨coded − base, change⟩ / ‖change‖²: 1 where the change is all there, 0 where the codes do not hold it. Rounding may
   * give a little more than 1.
   */
  readonly kept: number;
  /** ‖coded − (base + change)‖ / ‖change‖: the rounding beside it, which is not along the change. */
  readonly noise: number;
}

/** Sums over entries, from which the share of one weight or of many follows. */
export interface ShareSums {
  readonly along: number;
  readonly change: number;
  readonly noise: number;
}

export const noSums: ShareSums = { along: 0, change: 0, noise: 0 };

export function addSums(a: ShareSums, b: ShareSums): ShareSums {
  return { along: a.along + b.along, change: a.change + b.change, noise: a.noise + b.noise };
}

/** Sums of one weight: base, base + change, and what the codes stand for, entry by entry. */
export function shareSums(base: ArrayLike<number>, wanted: ArrayLike<number>, coded: ArrayLike<number>): ShareSums {
  let [along, change, noise] = [0, 0, 0];
  for (let i = 0; i < base.length; i++) {
    const delta = wanted[i] - base[i];
    const rest = coded[i] - wanted[i];
    along += (coded[i] - base[i]) * delta;
    change += delta * delta;
    noise += rest * rest;
  }
  return { along, change, noise };
}

/** The shares of sums; a change of nothing is kept whole. */
export function shareOf({ along, change, noise }: ShareSums): { readonly kept: number; readonly noise: number } {
  if (change === 0) return { kept: 1, noise: 0 };
  return { kept: along / change, noise: Math.sqrt(noise / change) };
}

/** Refuses a folding that would lose the adapter. Throws `ADAPTER_LOST`. */
export function refuseLoss(
  total: { readonly kept: number; readonly noise: number },
  worst: readonly KeptShare[],
  least: number,
  file: string,
): void {
  if (total.kept >= least) return;
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  const [lost] = [...worst].sort((a, b) => a.kept - b.kept);
  throw new LoomweightError({
    code: "ADAPTER_LOST",
    problem: `coding the weights again would keep ${percent(total.kept)} of the adapter's change: the steps of the codes are larger than it`,
    file,
    tensor: lost?.initializer,
    expected: `at least ${percent(least)} (minimalKept)`,
    found: `${percent(lost?.kept ?? 0)} in this weight (${lost?.form}), rounding ${total.noise.toFixed(1)} times the change over all`,
    fix: "Fold into the float model and quantize that, use more bits, or allow the loss (--allow-loss).",
  });
}
