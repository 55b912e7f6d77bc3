import { add, concat, mul, slice, squeeze, type Value } from "@loomweight/graph";
import { classifier, firstToken } from "../components/heads.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { patchEmbedding, patchGrid, tokenPerImage } from "../components/patch-embedding.ts";
import { visionEncoder, visionTasks } from "../components/vision-encoder.ts";
import { readVitConfig, type VitConfig, vitLayers, vitPooler } from "../components/vit-layers.ts";
import { defineFamily } from "../family.ts";

/**
 * DeiT: ViT with a distillation token beside the class token. Where the weights have a head for each, logits are their
 * mean; otherwise one classifier reads the class token.
 * Source: Touvron et al. 2020, arXiv:2012.12877.
 */
export const deit = defineFamily<VitConfig>({
  name: "deit",
  source: "arXiv:2012.12877",
  modelTypes: ["deit"],
  architectures: {
    DeiTForImageClassification: "image-classification",
    DeiTForImageClassificationWithTeacher: "image-classification",
    DeiTModel: "image-feature-extraction",
  },
  tasks: visionTasks,
  basePrefix: "deit.",
  unneeded: [
    /^(deit\.)?pooler\.dense\.(weight|bias)$/,
    /^(classifier|cls_classifier|distillation_classifier)\.(weight|bias)$/,
    /embeddings\.mask_token$/,
  ],

  readConfig: readVitConfig,

  build(options) {
    const { config, model } = options;
    return visionEncoder(options, {
      ...config,
      encode: (pixels) =>
        inside(model, "deit", (base) => {
          const x = inside(base, "embeddings", (module) => embeddings(module, pixels, config));
          return vitLayers(base, x, config);
        }),
      pool: (last) => vitPooler(model, "deit.pooler", last, config),
      classify(last): Record<string, Value> {
        const classToken = firstToken(last);
        if (!model.weights.has("cls_classifier.weight")) return { logits: classifier(model, classToken, config) };
        const distillationToken = squeeze(slice(last, { axes: [1], starts: [1], ends: [2] }), [1]);
        const cls = classifier(model, classToken, { ...config, name: "cls_classifier" });
        const distilled = classifier(model, distillationToken, { ...config, name: "distillation_classifier" });
        return { logits: mul(add(cls, distilled), 0.5), cls_logits: cls, distillation_logits: distilled };
      },
    });
  },
});

/** [class token; distillation token; patches] + positions: [batch, 2 + patches, hidden] */
function embeddings(module: Module, pixels: Value, config: VitConfig): Value {
  const { hiddenSize, image, patch } = config;
  const patches = inside(module, "patch_embeddings", (inner) => patchEmbedding(inner, "projection", pixels, config));
  const [rows, columns] = patchGrid(image, patch);
  const special = ["cls_token", "distillation_token"].map((name) => tokenPerImage(module, name, pixels, hiddenSize));
  const tokens = concat([...special, patches], 1);
  return add(tokens, weight(module, "position_embeddings", [1, 2 + rows * columns, hiddenSize]));
}
