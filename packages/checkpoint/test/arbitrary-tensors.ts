import { byteLengthOf, type DType, dtypeFacts, elementCount, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { safetensorsDTypes, tensorFromBytes } from "../src/index.ts";

/** A dtype that safetensors holds, a small shape that fills whole bytes, and random bytes for it. */
const anyTensor: fc.Arbitrary<Tensor> = fc
  .record({
    dtype: fc.constantFrom(...safetensorsDTypes.map(([, dtype]): DType => dtype)),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  })
  .map(({ dtype, shape }) => (dtypeFacts[dtype].bits < 8 ? { dtype, shape: [...shape, 4] } : { dtype, shape }))
  .chain(({ dtype, shape }) => {
    const length = byteLengthOf(dtype, elementCount(shape));
    return fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => tensorFromBytes(dtype, shape, bytes));
  });

/** Names as files have them, and as nobody should: escapes, surrogate pairs, the names of object internals. */
const anyName: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }).filter((name) => name !== "__metadata__"),
  fc.constantFrom("__proto__", "constructor", "model.layers.0.mlp.up_proj.weight", "", "\u0000", '"\\', "1", "0"),
);

/** Up to 12 tensors by name. */
export const anyTensors: fc.Arbitrary<Map<string, Tensor>> = fc
  .uniqueArray(fc.tuple(anyName, anyTensor), { maxLength: 12, selector: ([name]) => name })
  .map((entries) => new Map(entries));

export const anyMetadata: fc.Arbitrary<Record<string, string>> = fc
  .array(fc.tuple(fc.string({ unit: "binary", maxLength: 8 }), fc.string({ unit: "binary", maxLength: 8 })), {
    maxLength: 4,
  })
  .map((entries) => Object.fromEntries(entries));
