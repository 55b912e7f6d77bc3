import { add, concat, type Value } from "@loomweight/graph";
import { classifier, firstToken } from "../components/heads.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { patchEmbedding, patchGrid, tokenPerImage } from "../components/patch-embedding.ts";
import { visionEncoder, visionTasks } from "../components/vision-encoder.ts";
import { readVitConfig, type VitConfig, vitLayers, vitPooler } from "../components/vit-layers.ts";
import { defineFamily } from "../family.ts";

/**
 * Vision Transformer: image patches and a class token with learned positions through pre-norm blocks; the classifier
 * reads the class token after the last norm.
 * Source: Dosovitskiy et al. 2020, arXiv:2010.11929.
 */
export const vit = defineFamily<VitConfig>({
  name: "vit",
  source: "arXiv:2010.11929",
  modelTypes: ["vit"],
  architectures: { ViTForImageClassification: "image-classification", ViTModel: "image-feature-extraction" },
  tasks: visionTasks,
  basePrefix: "vit.",
  unneeded: [/^(vit\.)?pooler\.dense\.(weight|bias)$/, /^classifier\.(weight|bias)$/, /embeddings\.mask_token$/],

  readConfig: readVitConfig,

  build(options) {
    const { config, model } = options;
    return visionEncoder(options, {
      ...config,
      encode: (pixels) =>
        inside(model, "vit", (base) => {
          const x = inside(base, "embeddings", (module) => embeddings(module, pixels, config));
          return vitLayers(base, x, config);
        }),
      pool: (last) => vitPooler(model, "vit.pooler", last, config),
      classify: (last) => ({ logits: classifier(model, firstToken(last), config) }),
    });
  },
});

/** [class token; patches] + positions: [batch, 1 + patches, hidden] */
function embeddings(module: Module, pixels: Value, config: VitConfig): Value {
  const { hiddenSize, image, patch } = config;
  const patches = inside(module, "patch_embeddings", (inner) => patchEmbedding(inner, "projection", pixels, config));
  const [rows, columns] = patchGrid(image, patch);
  const tokens = concat([tokenPerImage(module, "cls_token", pixels, hiddenSize), patches], 1);
  return add(tokens, weight(module, "position_embeddings", [1, 1 + rows * columns, hiddenSize]));
}
