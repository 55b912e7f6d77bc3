import { add, cast, input, matMul, slice, split, squeeze, type Value } from "@loomweight/graph";
import { attend } from "../components/attention.ts";
import { firstToken, logitsOutput } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { inside, type Module, pathOf, weight } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { patchEmbedding, patchGrid, perRow } from "../components/patch-embedding.ts";
import {
  pairLogits,
  readTextTower,
  readTower,
  readVisionTower,
  type TextTowerConfig,
  textInput,
  textTowerEmbeddings,
  towerLayers,
  towerMlp,
  unitRows,
  type VisionTowerConfig,
} from "../components/towers.ts";
import { pixelInput } from "../components/vision-encoder.ts";
import { defineFamily } from "../family.ts";

interface SiglipConfig {
  readonly text: TextTowerConfig & { readonly projectionSize: number | undefined };
  readonly vision: VisionTowerConfig;
}

/**
 * SigLIP: a text tower that sees both ways and is pooled at its last position, padding or not, and a ViT pooled by the
 * attention of a learned query; a scale and a bias turn their products into logits.
 * Source: Zhai et al. 2023, arXiv:2303.15343.
 */
export const siglip = defineFamily<SiglipConfig>({
  name: "siglip",
  source: "arXiv:2303.15343",
  modelTypes: ["siglip"],
  architectures: { SiglipModel: "zero-shot-image-classification" },
  tasks: ["zero-shot-image-classification", "feature-extraction"],
  basePrefix: "",
  unneeded: [/embeddings\.position_ids$/, /^logit_(scale|bias)$/],

  readConfig(config) {
    const defaults = {
      hidden_size: 768,
      intermediate_size: 3072,
      num_attention_heads: 12,
      hidden_act: "gelu_pytorch_tanh",
      layer_norm_eps: 1e-6,
    };
    return {
      text: readTower(config, "text_config", defaults, (tower) => ({
        ...readTextTower(tower, { vocabSize: 32000, positions: 64 }),
        projectionSize: tower.has("projection_size") ? tower.size("projection_size") : undefined,
      })),
      vision: readTower(config, "vision_config", defaults, (tower) => {
        tower.only("vision_use_head", [true], "without its pooling head the tower has no embedding of an image");
        return readVisionTower(tower, { patch: 16 });
      }),
    };
  },

  build({ config, model, task, dtype }) {
    const pixelValues = pixelInput(config.vision);
    const images = () =>
      inside(model, "vision_model", (tower) => visionTower(tower, cast(pixelValues, dtype), config.vision));
    const texts = (inputIds: Value) => inside(model, "text_model", (tower) => textTower(tower, inputIds, config.text));
    if (task === "zero-shot-image-classification") {
      const inputIds = textInput("input_ids");
      const [image, text] = [unitRows(images().pooled), unitRows(texts(inputIds).pooled)];
      const [scale, bias] = [weight(model, "logit_scale", [1]), weight(model, "logit_bias", [1])];
      return {
        inputs: [inputIds, pixelValues],
        outputs: {
          ...pairLogits(image, text, scale, bias),
          text_embeds: logitsOutput(text),
          image_embeds: logitsOutput(image),
        },
      };
    }
    const inputIds = input("input_ids", "int64", ["batch_size", "sequence_length"]);
    const outputs = ({ last, pooled }: Pooled) => ({
      last_hidden_state: logitsOutput(last),
      pooler_output: logitsOutput(pooled),
    });
    return {
      graphs: {
        text_model: { inputs: [inputIds], outputs: outputs(texts(inputIds)) },
        vision_model: { inputs: [pixelValues], outputs: outputs(images()) },
      },
    };
  },
});

interface Pooled {
  readonly last: Value;
  readonly pooled: Value;
}

function textTower(tower: Module, inputIds: Value, config: SiglipConfig["text"]): Pooled {
  const { hiddenSize, epsilon, projectionSize = hiddenSize } = config;
  const states = towerLayers(tower, textTowerEmbeddings(tower, inputIds, config), config);
  const last = layerNorm(tower, "final_layer_norm", states, { size: hiddenSize, epsilon });
  const lastToken = squeeze(slice(last, { axes: [1], starts: [-1], ends: [Number.POSITIVE_INFINITY] }), [1]);
  const shape = { inFeatures: hiddenSize, outFeatures: projectionSize, bias: true };
  return { last, pooled: linear(tower, "head", lastToken, shape) };
}

function visionTower(tower: Module, pixels: Value, config: VisionTowerConfig): Pooled {
  const { hiddenSize, image, patch, epsilon } = config;
  const x = inside(tower, "embeddings", (module) => {
    const [rows, columns] = patchGrid(image, patch);
    const positions = weight(module, "position_embedding.weight", [rows * columns, hiddenSize]);
    return add(patchEmbedding(module, "patch_embedding", pixels, config), positions);
  });
  const states = towerLayers(tower, x, config);
  const last = layerNorm(tower, "post_layernorm", states, { size: hiddenSize, epsilon });
  return { last, pooled: inside(tower, "head", (head) => attentionPooling(head, last, config)) };
}

/** y + mlp(norm(y)) where y is what the learned query sees of x [batch, patches, hidden]: [batch, hidden]. */
function attentionPooling(head: Module, x: Value, config: VisionTowerConfig): Value {
  const { hiddenSize, heads, epsilon } = config;
  const probe = perRow(weight(head, "probe", [1, 1, hiddenSize]), x);
  const seen = inside(head, "attention", (self) => {
    // rows [q; k; v] in one matrix
    const weights = split(self.weights.matrix(pathOf(self, "in_proj_weight"), [3 * hiddenSize, hiddenSize]), 3, 1);
    const biases = split(weight(self, "in_proj_bias", [3 * hiddenSize]), 3, 0);
    const [query, key, value] = [probe, x, x].map((states, i) => add(matMul(states, weights[i]), biases[i]));
    const mixed = attend(self, { query, key, value }, { heads, headDim: hiddenSize / heads });
    return linear(self, "out_proj", mixed, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true });
  });
  const normed = layerNorm(head, "layernorm", seen, { size: hiddenSize, epsilon });
  return firstToken(add(seen, towerMlp(head, normed, config)));
}
