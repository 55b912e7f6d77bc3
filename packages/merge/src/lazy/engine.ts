import type { KernelDType, Kernels } from "@loomweight/kernels";

/**
 * Where the elements of one tensor come from. Reads are positional, in elements of the flattened tensor, and put the
 * raw little-endian codes straight into `into` (often memory of the kernels).
 */
export interface TileSource {
  /** Tensor name, for messages. */
  readonly name: string;
  /** Model it belongs to, for messages. */
  readonly model: string;
  readonly dtype: KernelDType;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  /** Bytes of one element. */
  readonly elementBytes: number;
  read(start: number, end: number, into: Uint8Array): Promise<void>;
}

/** Sizes that bound an engine's memory. */
export interface EngineOptions {
  readonly kernels: Kernels;
  /** Elements evaluated at once; default 8192 (64 KB of float64 a register, so that a few fit the L2 cache). */
  readonly blockSize?: number;
  /** Most elements of one tile when a tensor is streamed; default 2²⁰ (2 MB of bfloat16). */
  readonly tileElements?: number;
  /** Bytes of the tiles of all sources together, two each; tiles shrink to keep within it. Default 32 MB. */
  readonly streamBytes?: number;
  /** Sources of a tensor are read once and held when together they take no more; default 28 MB. */
  readonly residentBytes?: number;
  /** Most bytes that `hold` gives for one tensor; default 40 MB. */
  readonly heldBytes?: number;
}

/** Requests that are carried out together. */
interface Gathering {
  readonly requests: unknown[];
  readonly results: Promise<readonly unknown[]>;
}

const defaultBlockSize = 8192;
const megabyte = 1024 * 1024;
/** The default sizes, and what the two output tiles of the longest elements take. */
const fullSizes = {
  tileElements: 2 ** 20,
  streamBytes: 32 * megabyte,
  residentBytes: 28 * megabyte,
  heldBytes: 40 * megabyte,
};
const outputTileBytes = 16 * megabyte;
/** Registers, counts and other working memory of a pass. */
const workingBytes = 20 * megabyte;
/** Memory of an engine's kernels with the default sizes: sources held, tiles, two output tiles, and registers. */
export const engineBytes = 96 * megabyte;

/** Least bytes that an engine can work in. */
export const leastEngineMemory = 4 * megabyte;

/**
 * Sizes of an engine that has at most `memory` bytes of weights in flight: tiles read and written, sources held and
 * notes taken. `kernelBytes` is what its kernels need for them. Never above the default sizes.
 */
export function engineSizesWithin(memory: number): Required<Omit<EngineOptions, "kernels" | "blockSize">> & {
  readonly kernelBytes: number;
} {
  const { streamBytes, residentBytes, heldBytes, tileElements } = fullSizes;
  const share = Math.min(1, memory / (streamBytes + residentBytes + heldBytes + outputTileBytes));
  const part = (bytes: number) => Math.floor(bytes * share);
  const sizes = {
    tileElements: Math.max(1, Math.floor(part(tileElements) / defaultBlockSize)) * defaultBlockSize,
    streamBytes: part(streamBytes),
    residentBytes: part(residentBytes),
    heldBytes: part(heldBytes),
  };
  return { ...sizes, kernelBytes: kernelBytesOf(sizes, 16 * sizes.tileElements) };
}

function kernelBytesOf(sizes: { streamBytes: number; residentBytes: number }, outputTiles: number): number {
  return sizes.streamBytes + sizes.residentBytes + outputTiles + workingBytes;
}

/**
 * What lazy tensors are evaluated with: one set of kernels and its memory. Streamed passes over one engine run one
 * after another; independent engines run side by side.
 */
export interface Engine {
  readonly kernels: Kernels;
  readonly blockSize: number;
  readonly tileElements: number;
  readonly streamBytes: number;
  readonly residentBytes: number;
  /** Sources held whole in kernel memory until `reset`. */
  readonly resident: Map<TileSource, Uint8Array>;
  /** Runs `work` when every pass before it has ended. */
  exclusive<T>(work: () => Promise<T>): Promise<T>;
  /**
   * Carries out `request` together with others that are made of `run` before the callbacks under way have ended: models
   * that are looked at side by side are read in one pass. `run` gives one result per request.
   */
  gather<Q, R>(run: (requests: readonly Q[]) => Promise<readonly R[]>, request: Q): Promise<R>;
  /** Bytes to note something in for later passes over the tensor at hand; undefined where they would be too many. */
  hold(bytes: number): Uint8Array | undefined;
  /** Frees what was held for the tensor at hand. */
  reset(): void;
}

/** An engine over `kernels`, whose memory it uses from the present mark upwards. */
export function createEngine(options: EngineOptions): Engine {
  const {
    kernels,
    blockSize = defaultBlockSize,
    tileElements,
    streamBytes,
    residentBytes,
    heldBytes,
  } = {
    ...fullSizes,
    ...options,
  };
  const resident = new Map<TileSource, Uint8Array>();
  const bottom = kernels.mark();
  let last: Promise<unknown> = Promise.resolve();
  let held = 0;
  const gathering = new Map<unknown, Gathering>();
  return {
    kernels,
    blockSize,
    tileElements,
    streamBytes,
    residentBytes,
    resident,
    exclusive(work) {
      const result = last.then(work);
      last = result.catch(() => undefined);
      return result;
    },
    gather<Q, R>(run: (requests: readonly Q[]) => Promise<readonly R[]>, request: Q): Promise<R> {
      let group = gathering.get(run);
      if (group === undefined) {
        const requests: Q[] = [];
        const results = Promise.resolve().then(() => {
          gathering.delete(run);
          return run(requests);
        });
        group = { requests, results };
        gathering.set(run, group);
      }
      const index = group.requests.push(request) - 1;
      return group.results.then((results) => results[index] as R);
    },
    hold(bytes) {
      if (held + bytes > heldBytes) return undefined;
      held += bytes;
      return new Uint8Array(bytes);
    },
    reset() {
      held = 0;
      resident.clear();
      kernels.release(bottom);
    },
  };
}
