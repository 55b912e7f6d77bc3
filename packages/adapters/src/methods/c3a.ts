import { add, div, gather, reshape, transpose, type Value } from "@loomweight/graph";
import { fromData, integer, invalidOption, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { forwardPlus } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";

const options = { blockSize: integer(256, "size of the circulant blocks; divides in and out", { min: 1 }) };
type C3aOptions = OptionValues<typeof options>;

/**
 * C³A: W′ = W + C / in, C [out, in] made of circulant blocks: block (p, q) is C[i, j] = kernel[p, q, (j − i) mod size].
 * Source: Chen et al. 2024, arXiv:2407.19342. As PEFT computes it: divided by the layer's inputs, not by the block.
 * Differs: fresh kernels are zero; PEFT draws them, so that its fresh adapter changes the model.
 */
export const c3a = defineAdapter({
  name: "c3a",
  source: "arXiv:2407.19342",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, { blockSize }) => {
    for (const size of [layer.out, layer.in]) {
      if (size % blockSize !== 0) throw invalidOption({ option: "c3a.blockSize" }, blockSize, `a divisor of ${size}`);
    }
    return { kernel: [{ along: "out", per: blockSize }, { along: "in", per: blockSize }, blockSize] };
  },
  init: (layer, { blockSize }) => ({ kernel: zeros([layer.out / blockSize, layer.in / blockSize, blockSize]) }),
  apply: (layer, { kernel }, x, given) => forwardPlus(layer, circulant(layer, kernel, given), x),
  weight: (layer, { kernel }, given) => add(layer.weight, circulant(layer, kernel, given)),
  additive: true,
  tiling: (_layer, { blockSize }) => ({ out: blockSize, in: blockSize }),
  files: {
    peftTypes: ["C3A"],
    fields: { block_size: option(256), block_size_pattern: option({}), init_weights: note("xavier_uniform") },
    optionFields: { blockSize: "block_size" },
    patterns: { block_size_pattern: "blockSize" },
    suffixes: { c3a_kernel: { param: "kernel" } },
    biasOfAdapted: ["c3a_only"],
  },
});

/** Options of `c3a`, checked. */
export type { C3aOptions };

function circulant(layer: LayerShape, kernel: Value, { blockSize }: C3aOptions): Value {
  const at = new BigInt64Array(blockSize * blockSize);
  for (let i = 0; i < blockSize; i++) {
    for (let j = 0; j < blockSize; j++) at[i * blockSize + j] = BigInt((j - i + blockSize) % blockSize);
  }
  const scaled = div(kernel, layer.storedShape[1]);
  const blocks = gather(scaled, fromData("int64", at, [blockSize, blockSize]), 2); // [out/size, in/size, size, size]
  return reshape(transpose(blocks, [0, 2, 1, 3]), [layer.out, layer.in]);
}
