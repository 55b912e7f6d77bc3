import { reshape } from "@loomweight/graph";
import { initLinear, initNorm } from "@loomweight/graph/nn";
import { createRandom, full, normal, reshape as reshaped, type Tensor } from "@loomweight/tensor";
import { type VitOptions, vit } from "../../packages/adapters/test/vit.ts";
import { side } from "./digits.ts";
import type { Model, Weights } from "./fit.ts";

/** The tiny ViT of the cards: 16 × 16 digits as 4 patches, width 32, 2 heads, 3 blocks, MLP 64. */
export const shape = { width: 32, heads: 2, depth: 3, hidden: 64, patch: 8, classes: 10 };

export function initVit(seed: number): Weights {
  const random = createRandom(seed, "vit");
  const { width, depth, hidden, patch, classes } = shape;
  const weights: Record<string, Tensor> = {
    ...initLinear(random, "patch_embed.proj", { inputs: patch * patch, outputs: width }),
    cls_token: normal([1, 1, width], random.child("cls_token"), { deviation: 0.02 }),
    pos_embed: normal([1, (side / patch) ** 2 + 1, width], random.child("pos_embed"), { deviation: 0.02 }),
    ...initNorm("norm", { size: width }),
    ...initHead(seed),
  };
  weights["patch_embed.proj.weight"] = reshaped(weights["patch_embed.proj.weight"], [width, 1, patch, patch]);
  for (let i = 0; i < depth; i++) {
    const layers: [string, number, number][] = [
      ["attn.qkv", width, 3 * width],
      ["attn.proj", width, width],
      ["mlp.fc1", width, hidden],
      ["mlp.fc2", hidden, width],
    ];
    for (const [name, inputs, outputs] of layers)
      Object.assign(weights, initLinear(random, `blocks.${i}.${name}`, { inputs, outputs }));
    for (const name of ["norm1", "norm2"]) Object.assign(weights, initNorm(`blocks.${i}.${name}`, { size: width }));
  }
  if (weights["head.weight"].shape[0] !== classes) throw new Error("the head has the wrong number of classes");
  return weights;
}

/** A head for a new task. */
export function initHead(seed: number): Weights {
  return {
    "head.weight": normal([shape.classes, shape.width], createRandom(seed, "head"), { deviation: 0.02 }),
    "head.bias": full([shape.classes], 0),
  };
}

/** Logits of images [batch, 256]; `change` sees the outputs of attention, MLPs and blocks. */
export function vitModel(change?: (weights: Parameters<Model>[0]) => VitOptions["change"]): Model {
  return (weights, image) =>
    vit((name) => weights[name], reshape(image, [Number(image.shape[0]), 1, side, side]), {
      depth: shape.depth,
      heads: shape.heads,
      change: change?.(weights),
    });
}
