import { contiguousData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { type EvaMetric, evaCount, evaShares } from "./eva.ts";
import {
  type IncrementalPca,
  incrementalPca,
  type PrincipalDirections,
  settledDirections,
} from "./principal-directions.ts";
import { distributeRanks } from "./rank-distribution.ts";

/** A layer whose inputs are looked at. */
export interface EvaLayer {
  readonly path: string;
  readonly in: number;
  /** Its rank before any redistribution. */
  readonly rank: number;
}

export interface EvaDirectionsOptions {
  readonly rho?: number;
  readonly tau?: number;
  readonly metric?: EvaMetric;
  /** Take the mean out of the inputs, as the authors' code does; the paper speaks of a plain SVD. Default true. */
  readonly center?: boolean;
  readonly maxBatches?: number;
}

/** Directions of the layers' inputs. */
export interface EvaDirections {
  /** round(rho · rank) directions of each layer, in the order given; layers with the same inputs share theirs. */
  readonly directions: ReadonlyMap<string, PrincipalDirections>;
  /** Layer → the first layer that has the same inputs. */
  readonly owners: ReadonlyMap<string, string>;
  /** Batches that were looked at; passes over the data are repeated. */
  readonly batches: number;
  /** Layers whose directions had not settled when `maxBatches` was reached. */
  readonly unsettled: readonly string[];
  /** Batches with fewer rows than directions, which were left out. */
  readonly skipped: number;
}

/**
 * Looks at batches of layer inputs until the directions that get a rank have settled, layer by layer: a layer whose
 * directions stand still is not asked for again unless redistribution gives it more. Layers with the same inputs in the
 * first batch are one. `inputs` runs the model on a batch and gives rows [n, in] of the layers it is asked for; `data`
 * starts over when a pass was not enough. Throws `MISSING_DATA` where there is no batch, or none with enough rows,
 * `INVALID_OPTION` where a layer has fewer inputs than directions.
 * Source: Paischer et al. 2024, arXiv:2410.07170, Algorithm 1, as PEFT runs it. Differs: `maxBatches`, where PEFT goes on
 * for ever; an exact decomposition.
 */
export async function evaDirections<B>(
  layers: readonly EvaLayer[],
  inputs: (batch: B, wanted: ReadonlySet<string>) => Promise<ReadonlyMap<string, Tensor>>,
  data: () => Iterable<B> | AsyncIterable<B>,
  { rho = 2, tau = 0.99, metric = "ratio", center = true, maxBatches = 1000 }: EvaDirectionsOptions = {},
): Promise<EvaDirections> {
  check({ rho, tau, maxBatches });
  const paths = layers.map(({ path }) => path);
  const budget = layers.reduce((sum, { rank }) => sum + rank, 0);
  let owners: ReadonlyMap<string, string> | undefined;
  let groups = new Map<string, Group>();
  let settledRanks: ReadonlyMap<string, number> | undefined;
  let seen = 0;
  let skipped = 0;
  const isDone = (group: Group) =>
    settledRanks !== undefined && group.settled.slice(0, settledRanks.get(group.path)).every(Boolean);
  let ended = false;
  while (!ended) {
    const before = seen;
    for await (const batch of data()) {
      let first: ReadonlyMap<string, Tensor> | undefined;
      if (owners === undefined) {
        first = await inputs(batch, new Set(paths));
        owners = layersOfOneInput(layers, first);
        groups = groupsOf(layers, owners, { rho, center });
      }
      const wanted = [...groups.values()].filter((group) => !isDone(group));
      const found = first ?? (await inputs(batch, new Set(wanted.map(({ path }) => path))));
      for (const group of wanted) if (!look(group, rowsOf(found, group.path), tau)) skipped++;
      seen++;
      if ([...groups.values()].every(({ now }) => now !== undefined)) {
        settledRanks = distributeRanks(
          layers.map(({ path, rank }) => {
            const { now } = groups.get(owners?.get(path) as string) as { now: PrincipalDirections };
            return { path, shares: evaShares(now, metric, evaCount({ rank, rho })), owner: owners?.get(path) };
          }),
          budget,
        );
      }
      ended = seen >= maxBatches || (groups.size > 0 && [...groups.values()].every(isDone));
      if (ended) break;
    }
    if (seen === before) throw noData(undefined);
    // One pass shows every batch to a group without directions: another would not help.
    const empty = [...groups.values()].find(({ now }) => now === undefined);
    if (empty !== undefined) throw noData(empty);
  }
  const known = owners as ReadonlyMap<string, string>;
  const group = (path: string) => groups.get(known.get(path) as string) as Group;
  return {
    directions: new Map(paths.map((path) => [path, group(path).now as PrincipalDirections])),
    owners: known,
    batches: seen,
    unsettled: paths.filter((path) => !isDone(group(path))),
    skipped,
  };
}

/** Layers with one input. */
interface Group {
  /** The first of them. */
  readonly path: string;
  readonly count: number;
  readonly pca: IncrementalPca;
  now: PrincipalDirections | undefined;
  settled: boolean[];
}

function groupsOf(
  layers: readonly EvaLayer[],
  owners: ReadonlyMap<string, string>,
  { rho, center }: { readonly rho: number; readonly center: boolean },
): Map<string, Group> {
  const counts = new Map<string, number>();
  for (const { path, rank, in: width } of layers) {
    const count = evaCount({ rank, rho });
    if (count > width) throw tooMany(path, count, width);
    const owner = owners.get(path) as string;
    counts.set(owner, Math.max(count, counts.get(owner) ?? 0));
  }
  return new Map(
    layers.flatMap(({ path, in: width }) => {
      const count = counts.get(path);
      if (count === undefined) return [];
      const group = { path, count, pca: incrementalPca(width, count, { center }), now: undefined, settled: [] };
      return [[path, group] as const];
    }),
  );
}

/** Adds rows to a group; says whether there were enough of them. */
function look(group: Group, rows: Tensor, tau: number): boolean {
  if (!group.pca.add(rows)) return false;
  const before = group.now;
  group.now = group.pca.directions();
  // After one batch nothing is known about how far the directions will move.
  group.settled = before === undefined ? Array(group.count).fill(false) : settledDirections(before, group.now, tau);
  return true;
}

/** Layer → the first layer with the same rows, number by number. */
function layersOfOneInput(
  layers: readonly EvaLayer[],
  inputs: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, string> {
  const owners = new Map<string, string>();
  const byHash = new Map<string, string[]>();
  for (const { path } of layers) {
    const rows = rowsOf(inputs, path);
    const key = `${rows.shape} ${hashOf(rows)}`;
    const alike = byHash.get(key) ?? [];
    const first = alike.find((other) => sameNumbers(rowsOf(inputs, other), rows));
    owners.set(path, first ?? path);
    if (first === undefined) byHash.set(key, [...alike, path]);
  }
  return owners;
}

/** FNV-1a over 32-bit words: tells most different inputs apart without comparing them. */
function hashOf(rows: Tensor): number {
  const { buffer, byteOffset, byteLength } = contiguousData(rows) as Float32Array;
  const words = new Uint32Array(buffer, byteOffset, byteLength >> 2);
  let hash = 0x811c9dc5;
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193);
  return hash >>> 0;
}

function sameNumbers(a: Tensor, b: Tensor): boolean {
  if (a === b) return true;
  const [x, y] = [contiguousData(a) as Float32Array, contiguousData(b) as Float32Array];
  return x.length === y.length && x.every((value, i) => value === y[i]);
}

function rowsOf(inputs: ReadonlyMap<string, Tensor>, path: string): Tensor {
  const rows = inputs.get(path);
  if (rows !== undefined) return rows;
  throw new LoomweightError({
    code: "MISSING_DATA",
    problem: "the inputs of a layer were asked for and not given",
    node: path,
    found: [...inputs.keys()].slice(0, 8).join(", "),
  });
}

function check({ rho, tau, maxBatches }: { rho: number; tau: number; maxBatches: number }): void {
  const wrong = !(rho >= 1)
    ? (["rho", "at least 1", rho] as const)
    : !(tau >= 0 && tau <= 1)
      ? (["tau", "from 0 to 1", tau] as const)
      : !(Number.isInteger(maxBatches) && maxBatches >= 1)
        ? (["maxBatches", "a whole number from 1 on", maxBatches] as const)
        : undefined;
  if (wrong === undefined) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "invalid value",
    option: `eva.${wrong[0]}`,
    expected: wrong[1],
    found: String(wrong[2]),
  });
}

function tooMany(path: string, count: number, width: number): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem: "eva looks at more directions than the layer has inputs",
    node: path,
    option: "eva.rho",
    expected: `rho · rank up to ${width}`,
    found: String(count),
    fix: "Give a smaller rank or rho, or leave the layer out of the targets.",
  });
}

function noData(group: Group | undefined): LoomweightError {
  return new LoomweightError({
    code: "MISSING_DATA",
    problem: group === undefined ? "eva was given no batch" : "no batch has enough rows for the directions of a layer",
    node: group?.path,
    expected: group === undefined ? "batches that can be read again" : `a batch of at least ${group.count} rows`,
    fix: group === undefined ? undefined : "Give larger batches, or a smaller rank or rho.",
  });
}
