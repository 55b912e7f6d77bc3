import { add, cast, concat, cumSum, equal, input, mul, reduceMax, reshape, type Value } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { idsThat, idValues } from "../components/columns.ts";
import { firstToken, logitsOutput, stateWhere } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { causalBias } from "../components/mask.ts";
import { inside, type Module, weight } from "../components/module.ts";
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
  unitRows,
  type VisionTowerConfig,
} from "../components/towers.ts";
import { pixelInput } from "../components/vision-encoder.ts";
import { defineFamily } from "../family.ts";
import type { ComputeDType } from "../weights.ts";

interface ClipConfig {
  readonly text: TextTowerConfig & { readonly endId: number };
  readonly vision: VisionTowerConfig;
  readonly projectionSize: number;
}

/**
 * CLIP: a causal text tower pooled at the first end token and a ViT with a norm in front, both projected to one space,
 * where texts and images are compared. As two files each tower gives its states and its projection.
 * Source: Radford et al. 2021, arXiv:2103.00020.
 */
export const clip = defineFamily<ClipConfig>({
  name: "clip",
  source: "arXiv:2103.00020",
  modelTypes: ["clip"],
  architectures: { CLIPModel: "zero-shot-image-classification" },
  tasks: ["zero-shot-image-classification", "feature-extraction"],
  basePrefix: "",
  unneeded: [/embeddings\.position_ids$/, /^logit_scale$/],

  readConfig(config) {
    const defaults = { num_attention_heads: 8, hidden_act: "quick_gelu", layer_norm_eps: 1e-5 };
    config.value("logit_scale_init_value"); // the scale itself is a weight
    return {
      text: readTower(config, "text_config", { ...defaults, hidden_size: 512, intermediate_size: 2048 }, (tower) => ({
        ...readTextTower(tower, { vocabSize: 49408, positions: 77 }),
        endId: tower.size("eos_token_id", { default: 49407, min: 0 }),
      })),
      vision: readTower(
        config,
        "vision_config",
        { ...defaults, num_attention_heads: 12, hidden_size: 768, intermediate_size: 3072 },
        (tower) => readVisionTower(tower, { patch: 32 }),
      ),
      projectionSize: config.size("projection_dim", { default: 512 }),
    };
  },

  build({ config, model, task, dtype }) {
    const pixelValues = pixelInput(config.vision);
    const pixels = cast(pixelValues, dtype);
    const project = (name: string, x: Value, inFeatures: number) =>
      linear(model, name, x, { inFeatures, outFeatures: config.projectionSize, bias: false });
    const images = () => {
      const { last, pooled } = inside(model, "vision_model", (tower) => visionTower(tower, pixels, config.vision));
      return { last, embeds: project("visual_projection", pooled, config.vision.hiddenSize) };
    };
    const texts = (inputIds: Value, attentionMask: Value) => {
      const { last, pooled } = inside(model, "text_model", (tower) =>
        textTower(tower, { inputIds, attentionMask }, config.text, dtype),
      );
      return { last, embeds: project("text_projection", pooled, config.text.hiddenSize) };
    };

    if (task === "zero-shot-image-classification") {
      const [inputIds, attentionMask] = [textInput("input_ids"), textInput("attention_mask")];
      const [image, text] = [unitRows(images().embeds), unitRows(texts(inputIds, attentionMask).embeds)];
      return {
        inputs: [inputIds, pixelValues, attentionMask],
        outputs: {
          ...pairLogits(image, text, weight(model, "logit_scale", [])),
          text_embeds: logitsOutput(text),
          image_embeds: logitsOutput(image),
        },
      };
    }
    const [inputIds, attentionMask] = ["input_ids", "attention_mask"].map((name) =>
      input(name, "int64", ["batch_size", "sequence_length"]),
    );
    const [text, image] = [texts(inputIds, attentionMask), images()];
    return {
      graphs: {
        text_model: {
          inputs: [inputIds, attentionMask],
          outputs: { text_embeds: logitsOutput(text.embeds), last_hidden_state: logitsOutput(text.last) },
        },
        vision_model: {
          inputs: [pixelValues],
          outputs: { image_embeds: logitsOutput(image.embeds), last_hidden_state: logitsOutput(image.last) },
        },
      },
    };
  },
});

interface Pooled {
  readonly last: Value;
  readonly pooled: Value;
}

function textTower(
  tower: Module,
  { inputIds, attentionMask }: { readonly inputIds: Value; readonly attentionMask: Value },
  config: ClipConfig["text"],
  dtype: ComputeDType,
): Pooled {
  const x = textTowerEmbeddings(tower, inputIds, config);
  const states = towerLayers(tower, x, config, causalBias({ attentionMask, dtype }));
  const last = layerNorm(tower, "final_layer_norm", states, { size: config.hiddenSize, epsilon: config.epsilon });
  // files with 2 for the end token are older than the field: there the end token is the largest id
  const { endId } = config;
  const { vocabSize } = config;
  const rank = endId === 2 ? idValues(inputIds, vocabSize) : idsThat(inputIds, vocabSize, (id) => id === endId);
  const isEnd = cast(equal(rank, reduceMax(rank, [1], true)), "float32");
  const isFirst = equal(mul(cumSum(isEnd, 1), isEnd), fromData("float32", Float32Array.of(1), []));
  return { last, pooled: stateWhere(last, isFirst) };
}

function visionTower(tower: Module, pixels: Value, config: VisionTowerConfig): Pooled {
  const norm = { size: config.hiddenSize, epsilon: config.epsilon };
  const x = inside(tower, "embeddings", (module) => visionEmbeddings(module, pixels, config));
  const last = towerLayers(tower, layerNorm(tower, "pre_layrnorm", x, norm), config); // spelled so in the files
  return { last, pooled: layerNorm(tower, "post_layernorm", firstToken(last), norm) };
}

/** [class token; patches] + positions: [batch, 1 + patches, hidden] */
function visionEmbeddings(module: Module, pixels: Value, config: VisionTowerConfig): Value {
  const { hiddenSize, image, patch } = config;
  const patches = patchEmbedding(module, "patch_embedding", pixels, { ...config, bias: false });
  const classToken = reshape(weight(module, "class_embedding", [hiddenSize]), [1, 1, hiddenSize]);
  const [rows, columns] = patchGrid(image, patch);
  const positions = weight(module, "position_embedding.weight", [1 + rows * columns, hiddenSize]);
  return add(concat([perRow(classToken, pixels), patches], 1), positions);
}
