import type { GraphName } from "@loomweight/models";
import { fromData, type Tensor } from "@loomweight/tensor";
import type { AdapterValues, ModuleValues } from "./slot-values.ts";
import { type AdapterSlots, slotsOfGraph } from "./slots.ts";

/**
 * The factors of all slots of a graph, of one adapter or of several stacked. A slot without adapter gets factors of zeros
 * of rank `emptyRank`; default 1, since onnxruntime's WebGPU provider (1.30) crashes on products over an axis of 0, which
 * its CPU and WebAssembly providers take.
 */
export function slotTensors(
  slots: AdapterSlots,
  graph: GraphName,
  adapters: readonly (AdapterValues | undefined)[],
  emptyRank: 0 | 1 = 1,
): Readonly<Record<string, Tensor>> {
  const inputs: Record<string, Tensor> = {};
  for (const [path, slot] of slotsOfGraph(slots, graph)) {
    const values = adapters.map((adapter) => adapter?.modules.get(path));
    const rank = values.reduce<number>((most, each) => Math.max(most, each?.rank ?? 0), emptyRank);
    const leading = slots.layout === "rows" ? [adapters.length] : [];
    const A = new Float32Array(adapters.length * slot.in * rank);
    const B = new Float32Array(adapters.length * rank * slot.out);
    for (const [place, each] of values.entries()) {
      if (each === undefined) continue;
      // narrower factors are padded with zeros: columns of A, rows of B
      const start = place * slot.in * rank;
      for (let row = 0; row < slot.in; row++) {
        A.set(each.A.subarray(row * each.rank, (row + 1) * each.rank), start + row * rank);
      }
      B.set(each.B, place * rank * slot.out);
    }
    inputs[slot.A] = fromData("float32", A, [...leading, slot.in, rank]);
    inputs[slot.B] = fromData("float32", B, [...leading, rank, slot.out]);
    if (slot.scale !== undefined) inputs[slot.scale] = scales(values, slot.out, leading);
  }
  return inputs;
}

function scales(values: readonly (ModuleValues | undefined)[], out: number, leading: readonly number[]): Tensor {
  const data = new Float32Array(values.length * out).fill(1);
  for (const [place, each] of values.entries()) if (each?.scale !== undefined) data.set(each.scale, place * out);
  return fromData("float32", data, [...leading, out]);
}
