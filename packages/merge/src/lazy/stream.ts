import type { Engine, TileSource } from "./engine.ts";
import { type LazyTensor, sourcesOf } from "./lazy-tensor.ts";
import { compile, type Program } from "./program.ts";

/** A run of elements of the flattened tensor: [start, end). */
export interface ElementRange {
  readonly start: number;
  readonly end: number;
}

/** Receives one block of every root: element 0 of each array is element `start` of the flattened tensor. */
export type BlockConsumer = (values: readonly Float64Array[], start: number) => void;

export interface StreamOptions {
  /** Parts to visit, ascending; default the whole tensor. */
  readonly ranges?: readonly ElementRange[];
  /** Called before the first tile: kernel memory allocated here lives until the pass ends. */
  readonly prepare?: () => void;
  /** Called with each tile, before its blocks and after them; an awaited promise is back-pressure. */
  readonly beforeTile?: (tile: ElementRange) => Promise<void> | void;
  readonly afterTile?: (tile: ElementRange) => Promise<void> | void;
  /** Called at the end, also after a failure, before kernel memory of the pass is freed. */
  readonly finish?: () => Promise<void>;
}

/**
 * One pass over `roots` (all of one size), block by block in ascending order. Sources are read at most once a pass,
 * tile by tile, the next tile while the present one is computed; small ones are read once and held for later passes.
 */
export async function streamTiles(
  roots: readonly LazyTensor[],
  consume: BlockConsumer,
  options: StreamOptions = {},
): Promise<void> {
  const { engine, size } = roots[0];
  await engine.exclusive(async () => {
    const sources = sourcesOf(roots);
    await makeResident(engine, sources);
    const mark = engine.kernels.mark();
    try {
      options.prepare?.();
      const program = compile(roots, engine.kernels, engine.blockSize);
      await runTiles(engine, program, sources, options.ranges ?? [{ start: 0, end: size }], consume, options);
    } finally {
      await options.finish?.();
      engine.kernels.release(mark);
    }
  });
}

async function makeResident(engine: Engine, sources: readonly TileSource[]): Promise<void> {
  const missing = sources.filter((source) => !engine.resident.has(source));
  const bytesOf = (source: TileSource) => source.size * source.elementBytes;
  let total = missing.reduce((sum, source) => sum + bytesOf(source), 0);
  for (const source of engine.resident.keys()) total += bytesOf(source);
  if (total > engine.residentBytes) return;
  await Promise.all(
    missing.map(async (source) => {
      const bytes = engine.kernels.allocateUnset(bytesOf(source));
      engine.resident.set(source, bytes);
      if (source.size > 0) await source.read(0, source.size, bytes);
    }),
  );
}

async function runTiles(
  engine: Engine,
  program: Program,
  sources: readonly TileSource[],
  ranges: readonly ElementRange[],
  consume: BlockConsumer,
  hooks: StreamOptions,
): Promise<void> {
  const streamed = sources.filter((source) => !engine.resident.has(source));
  const perTile = tileLength(engine, streamed);
  const tiles = tilesOf(ranges, perTile);
  const longest = tiles.reduce((most, { start, end }) => Math.max(most, end - start), 0);
  const depth = Math.min(2, tiles.length);
  const buffers = Array.from(
    { length: depth },
    () => new Map(streamed.map((source) => [source, engine.kernels.allocateUnset(longest * source.elementBytes)])),
  );
  const readTile = async (index: number): Promise<void> => {
    const { start, end } = tiles[index];
    await Promise.all(
      streamed.map((source) => {
        const buffer = buffers[index % depth].get(source) as Uint8Array;
        return source.read(start, end, buffer.subarray(0, (end - start) * source.elementBytes));
      }),
    );
  };
  let next = streamed.length > 0 && tiles.length > 0 ? settled(readTile(0)) : undefined;
  try {
    for (let index = 0; index < tiles.length; index++) {
      const tile = tiles[index];
      if (next !== undefined) {
        const outcome = await next;
        next = undefined;
        if (outcome.failed) throw outcome.reason;
        if (index + 1 < tiles.length) next = settled(readTile(index + 1));
      }
      const codesOf = (start: number, count: number) => (source: TileSource) => {
        const held = engine.resident.get(source);
        const bytes = held ?? (buffers[index % depth].get(source) as Uint8Array);
        const first = (held === undefined ? start - tile.start : start) * source.elementBytes;
        return bytes.subarray(first, first + count * source.elementBytes);
      };
      await hooks.beforeTile?.(tile);
      for (let start = tile.start; start < tile.end; start += engine.blockSize) {
        const count = Math.min(engine.blockSize, tile.end - start);
        consume(program.run(start, count, codesOf(start, count)), start);
      }
      await hooks.afterTile?.(tile);
    }
  } finally {
    // A read in flight writes into memory that the caller is about to release.
    await next;
  }
}

/** Elements of a tile, a multiple of the block size. */
function tileLength({ tileElements, streamBytes, blockSize }: Engine, streamed: readonly TileSource[]): number {
  const bytes = streamed.reduce((sum, source) => sum + 2 * source.elementBytes, 0);
  const most = bytes === 0 ? tileElements : Math.min(tileElements, streamBytes / bytes);
  return Math.max(1, Math.floor(most / blockSize)) * blockSize;
}

function tilesOf(ranges: readonly ElementRange[], perTile: number): ElementRange[] {
  const tiles: ElementRange[] = [];
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += perTile) tiles.push({ start: at, end: Math.min(end, at + perTile) });
  }
  return tiles;
}

/** A promise that never rejects, so that a failure is not reported before it is awaited. */
function settled(promise: Promise<void>): Promise<{ failed: boolean; reason?: unknown }> {
  return promise.then(
    () => ({ failed: false }),
    (reason) => ({ failed: true, reason }),
  );
}
