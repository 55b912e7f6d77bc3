import { add, gelu, tanh, type Value } from "@loomweight/graph";
import type { EncoderConfig } from "../encoder-config.ts";
import { square } from "./bert-encoder.ts";
import { firstToken, languageHead, type TiedHead } from "./heads.ts";
import { linear } from "./linear.ts";
import { inside, type Module, pathOf, weight } from "./module.ts";
import { layerNorm } from "./norms.ts";

export const robertaHead = "lm_head.decoder";

/** `lm_head`: decoder(norm(gelu(dense(x)))) + bias; the activation is gelu by erf whatever the configuration says. */
export function robertaLanguageHead(
  model: Module,
  last: Value,
  { hiddenSize, vocabSize, epsilon, tied }: EncoderConfig,
  { embedding, tiedHead }: { readonly embedding: string; readonly tiedHead: TiedHead },
): Value {
  return inside(model, "lm_head", (head) => {
    const dense = gelu(linear(head, "dense", last, square(hiddenSize)), "none");
    const normed = layerNorm(head, "layer_norm", dense, { size: hiddenSize, epsilon });
    const tiedTo = tied ? embedding : undefined;
    const product = languageHead(head, "decoder", normed, { hiddenSize, vocabSize, tiedTo, tiedHead });
    return add(product, weight(head, "bias", [vocabSize]));
  });
}

/** `classifier`: out_proj(activation(dense(first token))); the activation is tanh unless given. */
export function denseClassifier(
  model: Module,
  last: Value,
  { hiddenSize, labels }: EncoderConfig,
  activation: (x: Value) => Value = tanh,
): Value {
  return inside(model, "classifier", (head) => {
    const dense = activation(linear(head, "dense", firstToken(last), square(hiddenSize)));
    const count = labels ?? head.weights.shapeOf(pathOf(head, "out_proj.weight"))[0];
    return linear(head, "out_proj", dense, { inFeatures: hiddenSize, outFeatures: count, bias: true });
  });
}
