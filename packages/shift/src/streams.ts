import { createRandom, invalidOption, LoomweightError, type Random } from "@loomweight/tensor";
import { dirichlet } from "./dirichlet.ts";

/** A domain of a stream: the class of each of its samples. */
export interface Domain {
  readonly name: string;
  readonly labels: ArrayLike<number>;
}

/** One batch of a stream, by reference: which samples of which domains. */
export interface StreamBatch {
  readonly samples: readonly { readonly domain: number; readonly sample: number }[];
  /** The adapter is to forget what it learnt before this batch. */
  readonly reset: boolean;
}

/**
 * How test streams are made in the field. `reset`: one domain after the other, the adapter starts anew in each;
 * `continual`: without the new starts; `gradual`: each domain as a list of severities, climbed up and down;
 * `mixed`: samples of all domains shuffled; `correlated`: domain after domain, classes in runs; `mixed-correlated`:
 * domains mixed, classes in runs.
 */
export type StreamSetting = "reset" | "continual" | "gradual" | "mixed" | "correlated" | "mixed-correlated";

export interface StreamOptions {
  /** Default 64. The last batch of a domain may be smaller. */
  readonly batchSize?: number;
  /** Default 0. */
  readonly seed?: number;
  /**
   * Correlated settings: concentration of the Dirichlet distribution by which a class is spread over time; default 0.1,
   * small values give long runs of one class.
   */
  readonly delta?: number;
  /** Gradual: how many severities each domain has; the domains are listed severity by severity. Default 5. */
  readonly severities?: number;
}

/** The batches of a stream over `domains`: every sample once (in `gradual`: once a visit). Throws `INVALID_OPTION`. */
export function* streamBatches(
  setting: StreamSetting,
  domains: readonly Domain[],
  { batchSize = 64, seed = 0, delta = 0.1, severities = 5 }: StreamOptions = {},
): Generator<StreamBatch> {
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw invalidOption({ option: "batchSize" }, batchSize, "a whole number of at least 1");
  }
  if (!(delta > 0)) throw invalidOption({ option: "delta" }, delta, "a number above 0");
  const random = createRandom(seed, `stream/${setting}`);
  for (const [index, visit] of visitsOf(setting, domains, severities).entries()) {
    const all = visit.flatMap((domain) =>
      Array.from(domains[domain].labels, (label, sample) => ({ domain, sample, label })),
    );
    const own = random.child(`${index}`);
    const order = setting.endsWith("correlated") ? inRuns(all, delta, own) : shuffled(all, own);
    for (let start = 0; start < order.length; start += batchSize) {
      const samples = order.slice(start, start + batchSize).map(({ domain, sample }) => ({ domain, sample }));
      yield { samples, reset: start === 0 && (index === 0 || setting === "reset") };
    }
  }
}

/** The domains seen together, one group after the other. */
function visitsOf(setting: StreamSetting, domains: readonly Domain[], severities: number): number[][] {
  const each = domains.map((_, index) => index);
  if (setting === "mixed" || setting === "mixed-correlated") return [each];
  if (setting !== "gradual") return each.map((index) => [index]);
  if (!Number.isInteger(severities) || severities < 1 || domains.length % severities !== 0) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "a gradual stream needs every domain in all its severities",
      option: "severities",
      expected: `a divisor of ${domains.length}, the number of domains`,
      found: `${severities}`,
    });
  }
  const visits: number[][] = [];
  for (let first = 0; first < domains.length; first += severities) {
    // Down from the strongest in the first domain, as the stream starts there; up and down again in the others.
    if (first > 0) for (let level = 0; level < severities - 1; level++) visits.push([first + level]);
    for (let level = severities - 1; level >= 0; level--) visits.push([first + level]);
  }
  return visits;
}

function shuffled<T>(all: readonly T[], random: Random): T[] {
  return Array.from(random.permutation(all.length), (index) => all[index]);
}

/** Samples in an order where classes come in runs: each class is spread over as many slots as there are classes. */
function inRuns<T extends { readonly label: number }>(all: readonly T[], delta: number, random: Random): T[] {
  const labels = [...new Set(all.map(({ label }) => label))].sort((a, b) => a - b);
  const slots: T[][] = labels.map(() => []);
  for (const label of labels) {
    const own = random.child(`class/${label}`);
    const members = shuffled(
      all.filter((each) => each.label === label),
      own,
    );
    const parts = dirichlet(slots.length, delta, own.child("parts"));
    let reached = 0;
    let taken = 0;
    for (const [slot, part] of parts.entries()) {
      reached += part;
      const until = slot === slots.length - 1 ? members.length : Math.round(reached * members.length);
      slots[slot].push(...members.slice(taken, until));
      taken = until;
    }
  }
  return slots.flat();
}
