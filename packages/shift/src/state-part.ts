import type { Tensor } from "@loomweight/tensor";
import type { ShiftState } from "./define.ts";
import { tensorsOf } from "./workbench.ts";

/** The tensors of a state under a prefix, by what follows it. */
export function statePart(state: ShiftState, prefix: string): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(tensorsOf(state))
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );
}
