import { evaluateTrace, type ImportedModel, instantiate, parametersOf, pruneUnused } from "@loomweight/graph";
import { cast, LoomweightError, type Tensor } from "@loomweight/tensor";
import { layerMatrix } from "./layer-in-graph.ts";
import type { LayerSite } from "./layers.ts";

/** The weight of a layer [out, in] as numbers, dequantized where it is stored as codes. float32, or float64 in a float64 graph. */
export async function weightTensor(imported: ImportedModel, site: LayerSite): Promise<Tensor> {
  const { graph } = imported.model;
  const needed =
    site.form === "MatMulNBits" ? site.node.inputs.slice(1, 4).filter((name) => name !== "") : [site.weight];
  const outputs = needed.map((name) => ({ name, dtype: undefined, shape: undefined }));
  const part = pruneUnused({ ...graph, inputs: [], outputs });
  const instance = instantiate({ ...imported, inputs: [], outputs, model: { ...imported.model, graph: part } });
  const value = layerMatrix(site, instance.value);
  const feeds: Record<string, Tensor> = {};
  for (const { name, data } of parametersOf([value])) {
    if (name !== undefined && data !== undefined) feeds[name] = await data.read();
  }
  const { weight } = evaluateTrace({ weight: value }, feeds);
  if (weight.dtype === "float32" || weight.dtype === "float64") return weight;
  if (weight.dtype === "float16" || weight.dtype === "bfloat16") return cast(weight, "float32");
  throw new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: "the weight of a layer is no float",
    tensor: site.stored,
    found: weight.dtype,
  });
}
