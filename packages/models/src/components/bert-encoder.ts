import { add, tanh, type Value } from "@loomweight/graph";
import type { EncoderConfig } from "../encoder-config.ts";
import { selfAttention } from "./attention.ts";
import { firstToken } from "./heads.ts";
import { linear } from "./linear.ts";
import { inside, type Module } from "./module.ts";
import { layerNorm } from "./norms.ts";

/** A linear layer from hidden states to hidden states. */
export const square = (size: number) => ({ inFeatures: size, outFeatures: size, bias: true });

/** The layers `encoder.layer.N` of BERT and its relatives: x [batch, sequence, hidden] → the same shape. */
export function bertLayers(base: Module, x: Value, attentionMask: Value, config: EncoderConfig): Value {
  let states = x;
  for (let layer = 0; layer < config.layers; layer++) {
    states = inside(base, `encoder.layer.${layer}`, (module) => block(module, states, attentionMask, config));
  }
  return states;
}

/** norm(x + attention(x)), then norm(x + mlp(x)) */
function block(module: Module, x: Value, attentionMask: Value, config: EncoderConfig): Value {
  const { hiddenSize, heads, epsilon } = config;
  const mixed = inside(module, "attention.self", (self) =>
    selfAttention(self, x, { hiddenSize, heads, bias: true, attentionMask }),
  );
  const attended = inside(module, "attention.output", (output) =>
    layerNorm(output, "LayerNorm", add(linear(output, "dense", mixed, square(hiddenSize)), x), {
      size: hiddenSize,
      epsilon,
    }),
  );
  return feedForward(module, attended, config);
}

/** norm(x + output(activation(intermediate(x)))): the second half of a block. */
export function feedForward(module: Module, x: Value, config: EncoderConfig): Value {
  const { hiddenSize, intermediateSize, activation, epsilon } = config;
  const widened = inside(module, "intermediate", (intermediate) =>
    activation(linear(intermediate, "dense", x, { inFeatures: hiddenSize, outFeatures: intermediateSize, bias: true })),
  );
  return inside(module, "output", (output) => {
    const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias: true };
    return layerNorm(output, "LayerNorm", add(linear(output, "dense", widened, narrow), x), {
      size: hiddenSize,
      epsilon,
    });
  });
}

/** tanh(dense(first token)), where the weights have the pooler `name`: [batch, hidden]. */
export function bertPooler(model: Module, name: string, last: Value, hiddenSize: number): Value | undefined {
  if (!model.weights.has(`${name}.dense.weight`)) return undefined;
  return inside(model, name, (pooler) => tanh(linear(pooler, "dense", firstToken(last), square(hiddenSize))));
}
