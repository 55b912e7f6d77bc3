import {
  add,
  assemble,
  gather,
  input,
  layerNormalization,
  lazyTensor,
  matMul,
  mul,
  named,
  type OnnxModel,
  parameter,
  relu,
  type Value,
} from "@loomweight/graph";
import { contiguousData, fromData, type Tensor, zeros } from "@loomweight/tensor";
import { testRandom } from "./contract.ts";

const [width, hidden, tokens] = [16, 32, 11];

/** Weights of a model of two blocks, named as a checkpoint of a llama has them. */
export function smallDecoderWeights(): Map<string, Tensor> {
  const weights = new Map<string, Tensor>();
  const put = (name: string, shape: readonly number[]) =>
    weights.set(name, testRandom().uniform(name, shape, -0.5, 0.5));
  put("model.embed_tokens.weight", [tokens, width]);
  for (const layer of [0, 1]) {
    put(`model.layers.${layer}.input_layernorm.weight`, [width]);
    put(`model.layers.${layer}.input_layernorm.bias`, [width]);
    for (const name of ["q_proj", "v_proj"]) put(`model.layers.${layer}.self_attn.${name}.weight`, [width, width]);
    put(`model.layers.${layer}.mlp.up_proj.weight`, [hidden, width]);
    put(`model.layers.${layer}.mlp.up_proj.bias`, [hidden]);
    put(`model.layers.${layer}.mlp.down_proj.weight`, [width, hidden]);
  }
  put("model.norm.weight", [width]);
  put("model.norm.bias", [width]);
  return weights;
}

/** The model of such weights: input_ids [4] → hidden [4, width]. Its attention is a product, which is enough here. */
export function smallDecoder(weights: ReadonlyMap<string, Tensor>): OnnxModel {
  const ids = input("input_ids", "int64", [4]);
  const own = (name: string) => parameter(name, lazyTensor(weights.get(name) as Tensor, { tensors: [name] }));
  const linear = (x: Value, path: string, short: string) =>
    named(short, () => {
      const stored = weights.get(`${path}.weight`) as Tensor;
      const turned = fromData("float32", contiguousData(swapped(stored)) as Float32Array, [...stored.shape].reverse());
      const origin = { tensors: [`${path}.weight`], transform: "transpose" as const };
      const y = matMul(x, parameter(`${path}.weight`, lazyTensor(turned, origin)));
      return weights.has(`${path}.bias`) ? add(y, own(`${path}.bias`)) : y;
    });
  const norm = (x: Value, path: string, short: string) =>
    named(short, () => layerNormalization(x, own(`${path}.weight`), own(`${path}.bias`)));
  const out = named("model", () => {
    let h: Value = named("embed_tokens", () => gather(own("model.embed_tokens.weight"), ids, 0));
    for (const layer of [0, 1]) {
      const path = `model.layers.${layer}`;
      h = named(`layers.${layer}`, () => {
        const u = norm(h, `${path}.input_layernorm`, "input_layernorm");
        const attended = named("self_attn", () =>
          mul(linear(u, `${path}.self_attn.q_proj`, "q_proj"), linear(u, `${path}.self_attn.v_proj`, "v_proj")),
        );
        const middle = add(h, attended);
        const changed = named("mlp", () => {
          const z = linear(middle, `${path}.mlp.up_proj`, "up_proj");
          return linear(
            named("act_fn", () => relu(z)),
            `${path}.mlp.down_proj`,
            "down_proj",
          );
        });
        return add(middle, changed);
      });
    }
    return norm(h, "model.norm", "norm");
  });
  return assemble({ name: "small", inputs: [ids], outputs: { hidden: out } });
}

const swapped = (x: Tensor): Tensor => ({
  ...x,
  shape: [...x.shape].reverse(),
  stride: [...x.stride].reverse(),
});

export const smallDecoderConfig = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  num_hidden_layers: 2,
  hidden_size: width,
  tie_word_embeddings: false,
};

/** Token ids for the model. */
export const smallIds = (() => {
  const ids = zeros([4], "int64");
  ids.data.set([3n, 5n, 3n, 7n]);
  return ids;
})();
