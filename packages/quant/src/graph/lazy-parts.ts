import type { LazyTensor } from "@loomweight/graph";
import { byteLengthOf, type DType, elementCount, type Tensor } from "@loomweight/tensor";

/** dtype and shape of one of the tensors that a weight turns into. */
export interface PartSpec {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/**
 * The weight that was computed last, kept until each of its `large` parts has been taken. One weight at a time is in memory:
 * writers that ask for the parts of a weight one after another read and code it once.
 */
export interface LatestWeight {
  take(
    key: object,
    part: string,
    large: readonly string[],
    compute: () => Promise<Readonly<Record<string, Tensor>>>,
  ): Promise<Tensor>;
}

/** A fresh, empty `LatestWeight`; every rewritten model has its own. */
export function latestWeight(): LatestWeight {
  let current: { key: object; computed: Promise<Readonly<Record<string, Tensor>>>; taken: Set<string> } | undefined;
  return {
    async take(key, part, large, compute) {
      if (current?.key !== key) current = { key, computed: compute(), taken: new Set() };
      const mine = current;
      try {
        const tensors = await mine.computed;
        mine.taken.add(part);
        if (current === mine && large.every((each) => mine.taken.has(each))) current = undefined;
        return tensors[part];
      } catch (cause) {
        if (current === mine) current = undefined;
        throw cause;
      }
    },
  };
}

/** Parts of at most this many bytes stay in memory once computed: writers may ask for scales long after the codes. */
const smallPart = 16384;

/** The parts of `source` as lazy tensors: `compute` runs when the first of them is read. */
export function lazyParts<Part extends string>(
  latest: LatestWeight,
  source: LazyTensor,
  transform: string,
  specs: Readonly<Record<Part, PartSpec>>,
  compute: () => Promise<Readonly<Record<Part, Tensor>>>,
): Readonly<Record<Part, LazyTensor>> {
  const key = {};
  const names = Object.keys(specs) as Part[];
  const small = new Map<string, Tensor>();
  const isSmall = (part: Part): boolean => {
    const { dtype, shape } = specs[part];
    return byteLengthOf(dtype, elementCount(shape)) <= smallPart;
  };
  const large = names.filter((part) => !isSmall(part));
  const origin = source.origin && {
    tensors: source.origin.tensors,
    transform: [source.origin.transform, transform].filter((step) => step !== undefined).join(", "),
  };
  const computeAll = async (): Promise<Readonly<Record<string, Tensor>>> => {
    const tensors = await compute();
    for (const part of names) if (isSmall(part)) small.set(part, tensors[part]);
    return tensors;
  };
  const lazy = (part: Part): LazyTensor => ({
    ...specs[part],
    origin,
    together: key,
    read: async () => small.get(part) ?? latest.take(key, part, large, computeAll),
  });
  return Object.fromEntries(names.map((part) => [part, lazy(part)])) as Record<Part, LazyTensor>;
}
