import {
  evaluateTrace,
  type ImportedModel,
  instantiate,
  parametersOf,
  pruneUnused,
  type Value,
} from "@loomweight/graph";
import { cast, contiguousData, fromData, isFloat, LoomweightError, type Tensor } from "@loomweight/tensor";
import { layerMatrix } from "./layer-in-graph.ts";
import type { LayerSite } from "./layers.ts";

/** The weight of a layer [out, in] as numbers, dequantized where it is stored as codes. float32, or float64 in a float64 graph. */
export async function weightTensor(imported: ImportedModel, site: LayerSite): Promise<Tensor> {
  if (site.form === "MatMulNBits") return dequantized(imported, site);
  return evaluated(imported, site.weight, (value) => layerMatrix(site, value));
}

/** The bias of a layer [out], where it has one, in the dtype of `weightTensor`. */
export async function biasTensor(imported: ImportedModel, { bias }: LayerSite): Promise<Tensor | undefined> {
  return bias === undefined ? undefined : evaluated(imported, bias, (value) => value(bias));
}

/** Numbers that follow from the model's weights alone: of the value `needed`, as `make` reads it. */
async function evaluated(
  imported: ImportedModel,
  needed: string,
  make: (value: (name: string) => Value) => Value,
): Promise<Tensor> {
  const { graph } = imported.model;
  const outputs = [{ name: needed, dtype: undefined, shape: undefined }];
  const part = pruneUnused({ ...graph, inputs: [], outputs });
  const instance = instantiate({ ...imported, inputs: [], outputs, model: { ...imported.model, graph: part } });
  const value = make(instance.value);
  const feeds: Record<string, Tensor> = {};
  for (const { name, data } of parametersOf([value])) {
    if (name !== undefined && data !== undefined) feeds[name] = await data.read();
  }
  const { made } = evaluateTrace({ made: value }, feeds);
  if (made.dtype === "float32" || made.dtype === "float64") return made;
  if (made.dtype === "float16" || made.dtype === "bfloat16") return cast(made, "float32");
  throw new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: "a weight of a layer is no float",
    tensor: needed,
    found: made.dtype,
  });
}

/** scale · (code − zero point) of blocks along `in`; codes [out, blocks, bytes], the lower half of a byte first. */
async function dequantized({ model }: ImportedModel, { layer, node }: LayerSite): Promise<Tensor<"float32">> {
  const attribute = (name: string) => {
    const found = node.attributes[name];
    return found?.type === "int" ? Number(found.value) : 0;
  };
  const bits = attribute("bits") || 4;
  const block = attribute("block_size");
  if ((bits !== 4 && bits !== 8) || (node.inputs[4] ?? "") !== "") {
    throw new LoomweightError({
      code: "UNSUPPORTED_LAYER",
      problem: "the numbers of this quantized weight cannot be read",
      node: node.name,
      expected: "4 or 8 bits without g_idx",
      fix: "Use a method that does not start from the weight, such as lora.",
    });
  }
  const read = async (name: string | undefined) => {
    const found = name === undefined || name === "" ? undefined : await model.graph.initializers.get(name)?.data.read();
    return found === undefined ? undefined : contiguousData(isFloat(found.dtype) ? cast(found, "float32") : found);
  };
  const codes = (await read(node.inputs[1])) as Uint8Array;
  const scales = (await read(node.inputs[2])) as Float32Array;
  const zeros = (await read(node.inputs[3])) as Uint8Array | Float32Array | undefined;
  const blocks = Math.ceil(layer.in / block);
  const bytes = (block * bits) / 8;
  const zeroRow = bits === 8 ? blocks : Math.ceil(blocks / 2);
  const nibble = (data: Uint8Array, byte: number, index: number) => (data[byte] >> (index % 2 === 0 ? 0 : 4)) & 15;
  const out = new Float32Array(layer.out * layer.in);
  for (let row = 0; row < layer.out; row++) {
    for (let at = 0; at < layer.in; at++) {
      const b = Math.floor(at / block);
      const k = at % block;
      const start = (row * blocks + b) * bytes;
      const code = bits === 8 ? codes[start + k] : nibble(codes, start + (k >> 1), k);
      let zero = 2 ** (bits - 1);
      if (zeros instanceof Float32Array) zero = zeros[row * blocks + b];
      else if (zeros !== undefined) {
        zero = bits === 8 ? zeros[row * zeroRow + b] : nibble(zeros, row * zeroRow + (b >> 1), b);
      }
      out[row * layer.in + at] = scales[row * blocks + b] * (code - zero);
    }
  }
  return fromData("float32", out, [layer.out, layer.in]);
}
