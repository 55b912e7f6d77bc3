import { dtypeFacts, fromFloat64, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";

/** An adapter's tensors by name. */
export type AdapterTensors = ReadonlyMap<string, Tensor>;

/**
 * Σ w θ of every tensor of several adapters of one run, each in the first one's dtype: summed in float64, rounded once.
 * Adapters are asked for one after the other, so that one is in memory beside the sum. One adapter comes back as it is.
 * Throws `ADAPTER_MISMATCH` naming the first tensor that another adapter lacks, adds or holds in another shape.
 */
export async function averageAdapters(
  adapters: Iterable<AdapterTensors | Promise<AdapterTensors>> | AsyncIterable<AdapterTensors>,
  weights: ArrayLike<number>,
): Promise<Map<string, Tensor>> {
  const sums = new Map<string, { readonly first: Tensor; readonly sum: Float64Array }>();
  let index = 0;
  for await (const adapter of adapters) {
    if (index >= weights.length) break;
    const weight = weights[index];
    if (index > 0) checkSameTensors(sums, adapter, index);
    for (const [name, tensor] of adapter) {
      const values = addable(name, tensor);
      const known = sums.get(name);
      if (known === undefined) sums.set(name, { first: tensor, sum: values.map((value) => weight * value) });
      else for (let i = 0; i < values.length; i++) known.sum[i] += weight * values[i];
    }
    index++;
  }
  if (index !== weights.length || index === 0) {
    throw new LoomweightError({
      code: "ADAPTER_MISMATCH",
      problem: "there are not as many adapters as weights",
      expected: `${weights.length}`,
      found: `${index}`,
    });
  }
  const alone = index === 1 && weights[0] === 1;
  return new Map(
    [...sums].map(([name, { first, sum }]) => [name, alone ? first : fromFloat64(sum, first.shape, first.dtype)]),
  );
}

function addable(name: string, tensor: Tensor): Float64Array {
  if (dtypeFacts[tensor.dtype].kind === "float") return toFloat64(tensor);
  throw new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: "only floating-point tensors can be averaged",
    tensor: name,
    found: tensor.dtype,
  });
}

function checkSameTensors(
  known: ReadonlyMap<string, { readonly first: Tensor }>,
  adapter: AdapterTensors,
  index: number,
): void {
  const mismatch = (tensor: string, expected: string, found: string) =>
    new LoomweightError({
      code: "ADAPTER_MISMATCH",
      problem: `adapter ${index} does not hold the tensors of adapter 0`,
      tensor,
      expected,
      found,
      fix: "Only checkpoints of one training run have parameters that can be averaged.",
    });
  for (const [name, { first }] of known) {
    const tensor = adapter.get(name);
    if (tensor === undefined) throw mismatch(name, `[${first.shape}]`, "no such tensor");
    if (`${tensor.shape}` !== `${first.shape}`) throw mismatch(name, `[${first.shape}]`, `[${tensor.shape}]`);
  }
  for (const [name, { shape }] of adapter) if (!known.has(name)) throw mismatch(name, "no such tensor", `[${shape}]`);
}
