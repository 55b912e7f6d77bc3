import type { Tensor } from "@loomweight/tensor";
import type { DataStart, DataStartOptions } from "./start-layers.ts";

/** An adapter that starts from factors which are taken out of the base. */
export function givenStart(
  adapter: DataStartOptions["adapter"],
  factors: ReadonlyMap<string, { readonly A: Tensor; readonly B: Tensor }>,
): DataStart {
  return {
    adapter: { ...adapter, options: { ...adapter.options, init: "given" } },
    statistics: (path) => factors.get(path),
  };
}
