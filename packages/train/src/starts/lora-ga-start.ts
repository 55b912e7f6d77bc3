import { defineAdapter, type LoraGaOptions, loraGa, lowRankScale } from "@loomweight/adapters";
import { attach, weightTensor } from "@loomweight/adapters/attach";
import { add, gradient, input, lazyTensor, parameter, transpose, type Value } from "@loomweight/graph";
import type { Batch } from "@loomweight/graph/training";
import { contiguousData, fromData, LoomweightError, type Tensor, zeros } from "@loomweight/tensor";
import { modelInputs } from "../inputs.ts";
import { type AdapterLoss, batchLoss, type Objective } from "../objectives.ts";
import { givenStart } from "./given-start.ts";
import { type DataStart, type DataStartOptions, type StartLayers, startLayers } from "./start-layers.ts";

export interface LoraGaStartOptions extends DataStartOptions, Pick<LoraGaOptions, "direction" | "stableGamma"> {
  /** As of `trainAdapter`. Default "next-token" on "logits". */
  readonly objective?: Objective | AdapterLoss;
  readonly output?: string;
  /** Batches whose gradients are averaged; default all of one pass. */
  readonly maxBatches?: number;
}

/**
 * LoRA-GA on a model: the gradient of the loss by every target's weight, averaged over batches, and the factors that
 * `loraGa` makes of it. Weights may be stored in any form, quantized too: the gradient is that of an update beside them.
 * The gradients of all layers are held in memory. Throws what `loraGa` and `attach` throw, `MISSING_DATA` without batches.
 */
export async function loraGaStart(options: LoraGaStartOptions): Promise<DataStart> {
  const { adapter, direction, stableGamma } = options;
  const layers = await startLayers(options, "given");
  const gradients = await weightGradients(layers, options);
  const factors = new Map<string, { readonly A: Tensor; readonly B: Tensor }>();
  for (const { path, sites, options: own } of layers.linear.values()) {
    const weight = await weightTensor(layers.imported, sites[0]);
    const given = { rank: own.rank, scale: lowRankScale(own), direction, stableGamma };
    const { A, B } = loraGa(weight, gradients.get(path) as Tensor, given);
    factors.set(path, { A, B });
  }
  return givenStart(adapter, factors);
}

/** W + update [out, in]: its gradient at zero is the weight's. */
const update = defineAdapter({
  name: "weight-update",
  source: "none",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options: {},
  params: () => ({ update: ["out", "in"] }),
  init: (layer) => ({ update: zeros([layer.out, layer.in]) }),
  apply: (layer, { update: own }, x) =>
    add(layer.forward(x), layer.operation(x, layer.kind === "linear" ? own : transpose(own, [1, 0]))),
  files: { peftTypes: [], fields: {}, optionFields: {}, suffixes: {}, biasOfAdapted: [] },
});

async function weightGradients(
  { imported, linear }: StartLayers,
  options: LoraGaStartOptions,
): Promise<ReadonlyMap<string, Tensor>> {
  const { runtime, checkpoint, batches, objective = "next-token", output = "logits" } = options;
  const { maxBatches = Number.POSITIVE_INFINITY } = options;
  const attachment = await attach(imported, checkpoint, { method: update, targets: [...linear.keys()] });
  const sums = new Map<string, Float64Array>();
  let count = 0;
  for await (const batch of batches()) {
    if (count >= maxBatches) break;
    for (const [name, own] of Object.entries(await batchGradients(batch))) {
      const values = contiguousData(own) as Float32Array;
      const sum = sums.get(name) ?? new Float64Array(values.length);
      values.forEach((value, i) => {
        sum[i] += value;
      });
      sums.set(name, sum);
    }
    count++;
  }
  if (count === 0) throw new LoomweightError({ code: "MISSING_DATA", problem: "lora-ga was given no batch" });
  return new Map(
    [...linear.values()].map(({ path, layer }) => {
      const sum = sums.get(`${path}.update`) as Float64Array;
      return [
        path,
        fromData(
          "float64",
          sum.map((value) => value / count),
          [layer.out, layer.in],
        ),
      ];
    }),
  );

  async function batchGradients(batch: Batch): Promise<Record<string, Tensor>> {
    const inputs = Object.fromEntries(
      Object.entries(batch).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
    );
    const parameters = Object.fromEntries(
      Object.entries(attachment.parameters).map(([name, tensor]) => [name, parameter(name, lazyTensor(tensor))]),
    ) as Record<string, Value>;
    const { outputs } = attachment.instantiate({ parameters, inputs: modelInputs(imported, inputs) });
    const { loss } = batchLoss(objective, output, outputs, inputs);
    return runtime.evaluate(gradient(loss, parameters), batch);
  }
}
