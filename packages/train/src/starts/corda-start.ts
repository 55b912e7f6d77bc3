import { type CordaOptions, corda, lowRankScale } from "@loomweight/adapters";
import { weightTensor } from "@loomweight/adapters/attach";
import { add, matMul, transpose } from "@loomweight/graph";
import { cast, contiguousData, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { givenStart } from "./given-start.ts";
import { layerInputs, type TokenMask } from "./layer-inputs.ts";
import { type DataStart, type DataStartOptions, startLayers } from "./start-layers.ts";

export interface CordaStartOptions extends DataStartOptions, TokenMask, Pick<CordaOptions, "mode"> {
  /** Batches to look at; default all of one pass. */
  readonly maxBatches?: number;
}

/**
 * CorDA on a model: the covariance of every layer's inputs over one pass of batches, each batch's rows divided by their
 * largest entry as PEFT does with its samples, and the factors that `corda` takes out of the weight. Covariances
 * [in, in] of all layers are held in memory, one for layers that read one value. Throws what `corda` and `attach` throw,
 * `MISSING_DATA` without batches.
 */
export async function cordaStart(options: CordaStartOptions): Promise<DataStart> {
  const { runtime, adapter, batches, mode, maxBatches = Number.POSITIVE_INFINITY } = options;
  const layers = await startLayers(options, "given");
  const source = layerInputs(layers.imported, layers.linear, runtime, options);
  // Layers whose every use reads the same values have one covariance.
  const keyOf = (path: string) => (layers.linear.get(path)?.sites ?? []).map(({ x }) => x).join(" ");
  const first = new Map([...layers.linear.keys()].reverse().map((path) => [keyOf(path), path]));
  const covariances = new Map<string, Tensor>();
  let count = 0;
  try {
    for await (const batch of batches()) {
      if (count >= maxBatches) break;
      for (const [path, rows] of await source.rows(batch, new Set(first.values()))) {
        const own = secondMoment(rows);
        const sum = covariances.get(keyOf(path));
        covariances.set(keyOf(path), sum === undefined ? own : (add(sum, own) as Tensor));
      }
      count++;
    }
  } finally {
    await source.close();
  }
  if (count === 0) throw new LoomweightError({ code: "MISSING_DATA", problem: "corda was given no batch" });
  const factors = new Map<string, { readonly A: Tensor; readonly B: Tensor }>();
  for (const { path, sites, options: own } of layers.linear.values()) {
    const weight = await weightTensor(layers.imported, sites[0]);
    const covariance = averaged(covariances.get(keyOf(path)) as Tensor, count);
    const { A, B } = corda(weight, covariance, { rank: own.rank, mode, scale: lowRankScale(own) });
    factors.set(path, { A, B });
  }
  return givenStart(adapter, factors);
}

/** XᵀX of the rows over their largest entry, float64. */
function secondMoment(rows: Tensor<"float32">): Tensor {
  const data = Float64Array.from(contiguousData(rows) as Float32Array);
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of data) largest = Math.max(largest, value);
  const size = Math.abs(largest) || 1;
  const scaled = fromData(
    "float64",
    data.map((value) => value / size),
    rows.shape,
  );
  return matMul(transpose(scaled, [1, 0]), scaled) as Tensor;
}

function averaged(sum: Tensor, count: number): Tensor {
  const data = contiguousData(cast(sum, "float64")) as Float64Array;
  return fromData(
    "float64",
    data.map((value) => value / count),
    sum.shape,
  );
}
