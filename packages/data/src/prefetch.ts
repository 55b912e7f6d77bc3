import { invalidOption } from "@loomweight/tensor";

export interface PrefetchOptions {
  /** Items made ahead of their use; default 2. */
  readonly ahead?: number;
}

/**
 * Makes the next items of a source while the present one is used, in order. A fault of the source comes where its item
 * would have come; leaving the loop early ends the source.
 */
export function prefetch<T>(source: Iterable<T> | AsyncIterable<T>, options?: PrefetchOptions): AsyncGenerator<T> {
  return mapAhead(source, async (item) => item, options);
}

/** `work` on every item of a source, up to `ahead` + 1 at once; results in order, faults as for `prefetch`. */
export async function* mapAhead<T, R>(
  source: Iterable<T> | AsyncIterable<T>,
  work: (item: T) => Promise<R>,
  { ahead = 2 }: PrefetchOptions = {},
): AsyncGenerator<R> {
  if (!Number.isInteger(ahead) || ahead < 0) {
    throw invalidOption({ option: "ahead" }, ahead, "a whole number of at least 0");
  }
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const waiting: Promise<{ readonly done: true } | { readonly done: false; readonly value: R }>[] = [];
  const ask = async () => {
    const next = await iterator.next();
    return next.done ? { done: true as const } : { done: false as const, value: await work(next.value) };
  };
  try {
    for (;;) {
      while (waiting.length <= ahead) {
        const asked = ask();
        asked.catch(() => {}); // thrown again where the item is taken
        waiting.push(asked);
      }
      const result = await waiting.shift();
      if (result === undefined || result.done) return;
      yield result.value;
    }
  } finally {
    await Promise.allSettled(waiting);
    await iterator.return?.();
  }
}
