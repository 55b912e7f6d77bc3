import type { LazyTensor } from "@loomweight/graph";
import type { DType, Tensor } from "@loomweight/tensor";

/** dtype and shape of one of the tensors that a weight turns into. */
export interface PartSpec {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/**
 * The weight that was computed last, kept until each of its parts has been taken. One weight at a time is in memory:
 * writers that ask for the parts of a weight one after another read and code it once.
 */
export interface LatestWeight {
  take(
    key: object,
    part: string,
    parts: number,
    compute: () => Promise<Readonly<Record<string, Tensor>>>,
  ): Promise<Tensor>;
}

/** A fresh, empty `LatestWeight`; every rewritten model has its own. */
export function latestWeight(): LatestWeight {
  let current: { key: object; computed: Promise<Readonly<Record<string, Tensor>>>; taken: Set<string> } | undefined;
  return {
    async take(key, part, parts, compute) {
      if (current?.key !== key) current = { key, computed: compute(), taken: new Set() };
      const mine = current;
      try {
        const tensors = await mine.computed;
        mine.taken.add(part);
        if (current === mine && mine.taken.size === parts) current = undefined;
        return tensors[part];
      } catch (cause) {
        if (current === mine) current = undefined;
        throw cause;
      }
    },
  };
}

/** The parts of `source` as lazy tensors: `compute` runs when the first of them is read. */
export function lazyParts<Part extends string>(
  latest: LatestWeight,
  source: LazyTensor,
  transform: string,
  specs: Readonly<Record<Part, PartSpec>>,
  compute: (weight: Tensor) => Readonly<Record<Part, Tensor>>,
): Readonly<Record<Part, LazyTensor>> {
  const key = {};
  const names = Object.keys(specs) as Part[];
  const origin = source.origin && {
    tensors: source.origin.tensors,
    transform: [source.origin.transform, transform].filter((step) => step !== undefined).join(", "),
  };
  const read = async (): Promise<Readonly<Record<string, Tensor>>> => compute(await source.read());
  return Object.fromEntries(
    names.map((part) => [
      part,
      { ...specs[part], origin, read: () => latest.take(key, part, names.length, read) } satisfies LazyTensor,
    ]),
  ) as Record<Part, LazyTensor>;
}
