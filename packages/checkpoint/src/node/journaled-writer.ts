import type { Journal } from "./journal.ts";
import type { FileTensorWriter } from "./tensor-writer.ts";

/** A `FileTensorWriter` that keeps a journal of the tensors that are whole. */
export interface JournaledWriter extends FileTensorWriter {
  /** Writes the lines of all tensors noted so far, once their data is on disk. */
  flush(): Promise<void>;
}

/** A run is taken for alive by other machines while its journal changes this often, several times over. */
const beatMilliseconds = 15_000;
/** After a flush, others wait for this many times its duration: flushing takes a fifth of the time at most. */
const restShare = 4;
const shortestRest = 20;

/**
 * `writer` with a journal. A tensor noted by `complete` gets its line when its file has been flushed to disk, together
 * with all others noted meanwhile: on a fast disk within tens of milliseconds, on a slow one as often as costs little.
 * A flush that fails is reported by the next `complete`, `flush` or `finish`.
 */
export function journaledWriter(writer: FileTensorWriter, journal: Journal): JournaledWriter {
  const waiting = new Map<string, number>();
  let flushing: Promise<void> | undefined;
  let failure: { readonly cause: unknown } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const beating = setInterval(() => {
    void journal.beat().catch(() => undefined); // a disk that refuses is told by the next flush
  }, beatMilliseconds);
  beating.unref();

  const flushOnce = async (): Promise<void> => {
    const names = [...waiting.keys()];
    const files = new Set(waiting.values());
    waiting.clear();
    await writer.sync(files);
    await journal.append(names);
  };
  const flushWaiting = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    const began = performance.now();
    const flush = flushOnce().then(
      () => {
        flushing = undefined;
        if (waiting.size > 0) scheduleFlush((performance.now() - began) * restShare);
      },
      (cause: unknown) => {
        flushing = undefined;
        failure ??= { cause };
      },
    );
    flushing = flush;
    return flush;
  };
  const scheduleFlush = (rest: number) => {
    if (closed || timer !== undefined || flushing !== undefined) return;
    timer = setTimeout(() => void flushWaiting(), Math.max(shortestRest, rest));
  };
  const throwFailure = () => {
    if (failure !== undefined) throw failure.cause;
  };
  const flush = async () => {
    while (flushing !== undefined) await flushing;
    if (waiting.size > 0 && failure === undefined) await flushWaiting();
    throwFailure();
  };
  const end = async () => {
    closed = true;
    clearInterval(beating);
    clearTimeout(timer);
    while (flushing !== undefined) await flushing;
  };
  return {
    ...writer,
    complete(name) {
      throwFailure();
      writer.complete(name);
      const place = writer.plan.tensors.get(name);
      if (place === undefined || writer.finished.has(name)) return;
      waiting.set(name, place.file);
      scheduleFlush(0);
    },
    flush,
    async finish() {
      await end();
      throwFailure();
      await writer.finish();
      // All data is on disk: should putting the output in its place fail, nothing is done twice.
      const names = [...waiting.keys()];
      waiting.clear();
      if (names.length > 0) await journal.append(names);
    },
    async abort() {
      await end();
      await writer.abort();
      await journal.close();
    },
  };
}
