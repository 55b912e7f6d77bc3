import { createRandom } from "@loomweight/kernels";
import { normal, uniform } from "@loomweight/tensor";
import type { AdapterRandom } from "../define.ts";

/**
 * Random numbers for the fresh parameters of one module, keyed by (seed, module, parameter): the same on every
 * platform, whatever else is initialised. Throws `INVALID_SEED`.
 */
export function adapterRandom(seed: number | bigint, module: string): AdapterRandom {
  const own = createRandom(seed, module);
  return {
    uniform: (name, shape, low, high) => uniform(shape, own.child(name), { low, high }),
    normal: (name, shape, deviation) => normal(shape, own.child(name), { deviation }),
  };
}
