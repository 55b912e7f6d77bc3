import type { Initializer, LazyTensor } from "@loomweight/graph";
import { byteLengthOf, elementCount, fromData, LoomweightError, type Tensor, transpose } from "@loomweight/tensor";
import type { WeightForm } from "./forms.ts";
import { sameShape } from "./recipe.ts";

/** The parts of the weight that was coded last: writers ask for them one after another. */
export interface LatestParts {
  take(form: WeightForm, at: number, code: () => Promise<readonly Tensor[]>): Promise<Tensor>;
}

/** Parts of at most this many bytes stay once computed: scales may be written long after their codes. */
const smallPart = 16384;

export function latestParts(): LatestParts {
  let current: { form: WeightForm; coded: Promise<readonly Tensor[]> } | undefined;
  const small = new Map<WeightForm, Map<number, Tensor>>();
  return {
    async take(form, at, code) {
      const known = small.get(form)?.get(at);
      if (known !== undefined) return known;
      if (current?.form !== form) current = { form, coded: code() };
      const mine = current;
      try {
        const parts = await mine.coded;
        const kept = parts.flatMap((part, place): [number, Tensor][] =>
          byteLengthOf(part.dtype, elementCount(part.shape)) <= smallPart ? [[place, part]] : [],
        );
        small.set(form, new Map(kept));
        return parts[at];
      } catch (cause) {
        if (current === mine) current = undefined;
        throw cause;
      }
    },
  };
}

/** The initializers of a quantized weight, coded from new values when the first of them is written. */
export function encodedParts(
  latest: LatestParts,
  form: WeightForm,
  old: readonly Initializer[],
  weight: LazyTensor,
): LazyTensor[] {
  const code = async () => form.encode(await streamedFloats(weight));
  return old.map(({ name, dtype, shape }, at) => ({
    dtype,
    shape,
    origin: weight.origin,
    async read() {
      const part = await latest.take(form, at, code);
      if (part.dtype === dtype && sameShape(part.shape, shape)) return part;
      throw new LoomweightError({
        code: "UNSUPPORTED_WEIGHT_FORM",
        problem: "the weight was coded in a way that this quantizer does not repeat",
        tensor: name,
        expected: `${dtype} [${shape}]`,
        found: `${part.dtype} [${part.shape}]`,
      });
    },
  }));
}

/**
 * A float32 weight put together from its parts: its form in the checkpoint never lies beside it as a whole. One that is
 * stored the other way round is a view.
 */
async function streamedFloats(weight: LazyTensor): Promise<Tensor> {
  const { dtype, shape, columns } = weight;
  const parts = shape.length === 2 && columns !== undefined ? columns.stream("float32") : weight.stream?.();
  if (dtype !== "float32" || parts === undefined) return weight.read();
  const values = new Float32Array(elementCount(shape));
  const bytes = new Uint8Array(values.buffer);
  let at = 0;
  for await (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  if (shape.length !== 2 || columns === undefined) return fromData("float32", values, shape);
  return transpose(fromData("float32", values, [shape[1], shape[0]]));
}
