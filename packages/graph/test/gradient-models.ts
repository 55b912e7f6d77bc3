import { type DType, fromData, type Tensor } from "@loomweight/tensor";
import { float, int } from "../src/attributes.ts";
import { input } from "../src/inputs.ts";
import { apply, ruleOf } from "../src/op.ts";
import { averagePool, conv, maxPool } from "../src/ops/convolution.ts";
import { add, div, gelu, mul, neg, relu, sqrt, sub, tanh } from "../src/ops/elementwise.ts";
import { gather, gatherElements } from "../src/ops/indexing.ts";
import { cast, equal, where } from "../src/ops/logic.ts";
import { matMul } from "../src/ops/matmul.ts";
import { layerNormalization, normalizeOps } from "../src/ops/normalize.ts";
import { logSoftmax, reduceMean, reduceSum, softmax } from "../src/ops/reduce.ts";
import { reshape, split, squeeze, transpose, unsqueeze } from "../src/ops/shape.ts";
import type { GraphValue, Value } from "../src/value.ts";

export interface ModelTrace {
  readonly name: string;
  readonly batch: Readonly<Record<string, string>>;
  readonly initial: Readonly<Record<string, string>>;
  readonly losses: readonly number[];
  readonly lossAfterFiveSteps: number;
  readonly gradientsAtStep0: Readonly<Record<string, string>>;
  readonly afterFiveSteps: Readonly<Record<string, string>>;
  readonly activationsAtStep0: Readonly<Record<string, string>>;
  readonly activationsAfter: Readonly<Record<string, string>>;
  readonly adamw: { lr: number; betas: [number, number]; eps: number; weight_decay: number };
  // biome-ignore lint/suspicious/noExplicitAny: one shape per model
  readonly config: any;
}

type Values = Readonly<Record<string, Value>>;

/** A model: its loss, and values to look at; `state` are running statistics by name. */
export interface Forward {
  readonly loss: Value;
  readonly activations: Values;
  readonly state: Values;
}

/** Mean of −log softmax at the labels, over those that are not `ignored`. */
function crossEntropy(logits: Value, labels: Value, ignored?: number): Value {
  const logs = logSoftmax(logits, 1);
  const skip = ignored === undefined ? undefined : equal(labels, ignored);
  const places = skip === undefined ? labels : where(skip, 0, labels);
  const losses = neg(squeeze(gatherElements(logs, unsqueeze(places, [1]), 1), [1]));
  if (skip === undefined) return reduceMean(losses, undefined, false);
  const counts = sub(1, cast(skip, logits.dtype));
  return div(reduceSum(mul(losses, counts), undefined, false), reduceSum(counts, undefined, false));
}

function mlp(config: { sizes: number[]; activation: string }, p: Values, batch: Values): Forward {
  const act = { relu, tanh, gelu: (x: Value) => gelu(x) }[config.activation] as (x: Value) => Value;
  let h = batch.x;
  const layers = config.sizes.length - 1;
  for (let i = 0; i < layers; i++) {
    h = add(matMul(h, p[`w${i}`]), p[`b${i}`]);
    if (i < layers - 1) h = act(h);
  }
  return { loss: crossEntropy(h, batch.labels), activations: { logits: h }, state: {} };
}

function cnn(
  config: { channels: number[]; kernel: number; strides: number[]; momentum: number; epsilon: number; pool: string },
  p: Values,
  batch: Values,
  state: Values,
): Forward {
  let h = batch.x;
  const next: Record<string, Value> = {};
  const half = Math.floor(config.kernel / 2);
  for (let i = 0; i < config.channels.length - 1; i++) {
    const stride = config.strides[i];
    h = conv(h, p[`conv${i}.weight`], undefined, { strides: [stride, stride], pads: [half, half, half, half] });
    const [y, mean, variance] = apply(
      ruleOf(normalizeOps, "BatchNormalization"),
      [h, p[`bn${i}.weight`], p[`bn${i}.bias`], state[`bn${i}.running_mean`], state[`bn${i}.running_var`]],
      {
        attributes: { training_mode: int(1), momentum: float(config.momentum), epsilon: float(config.epsilon) },
        outputs: 3,
      },
    );
    next[`bn${i}.running_mean`] = mean;
    next[`bn${i}.running_var`] = variance;
    h = relu(y);
  }
  h = (config.pool === "max" ? maxPool : averagePool)(h, [2, 2], { strides: [2, 2] });
  const logits = add(matMul(reduceMean(h, [2, 3], false), p["fc.weight"]), p["fc.bias"]);
  return { loss: crossEntropy(logits, batch.labels), activations: { logits }, state: next };
}

interface GptConfig {
  vocab: number;
  dim: number;
  seq: number;
  heads: number;
  layers: number;
  gelu: "none" | "tanh";
  tied: boolean;
}

function gpt(config: GptConfig, p: Values, batch: Values): Forward {
  const { vocab, dim, seq, heads, layers } = config;
  const rows = batch.tokens.shape[0] as number;
  const size = dim / heads;
  const hidden: number[] = [];
  for (let i = 0; i < seq; i++) for (let j = 0; j < seq; j++) hidden.push(j <= i ? 1 : 0);
  const mask = fromData("bool", Uint8Array.from(hidden), [seq, seq]);
  const inHeads = (x: Value) => transpose(reshape(x, [rows, seq, heads, size]), [0, 2, 1, 3]);
  const linear = (x: Value, name: string) => add(matMul(x, p[`${name}.weight`]), p[`${name}.bias`]);
  const norm = (x: Value, name: string) => layerNormalization(x, p[`${name}.weight`], p[`${name}.bias`]);
  let x = add(gather(p.wte, batch.tokens), p.wpe);
  for (let i = 0; i < layers; i++) {
    const [q, k, v] = split(linear(norm(x, `h${i}.ln1`), `h${i}.qkv`), [dim, dim, dim], 2).map(inHeads);
    const scores = mul(matMul(q, transpose(k, [0, 1, 3, 2])), 1 / Math.sqrt(size));
    const seen = softmax(where(mask, scores, Number.NEGATIVE_INFINITY));
    const joined = reshape(transpose(matMul(seen, v), [0, 2, 1, 3]), [rows, seq, dim]);
    x = add(x, linear(joined, `h${i}.proj`));
    x = add(x, linear(gelu(linear(norm(x, `h${i}.ln2`), `h${i}.fc`), config.gelu), `h${i}.out`));
  }
  const head = config.tied ? transpose(p.wte) : p.head;
  const logits = matMul(norm(x, "lnf"), head);
  const loss = crossEntropy(reshape(logits, [-1, vocab]), reshape(batch.targets, [-1]), -100);
  return { loss, activations: { logits }, state: {} };
}

/** The model of a trace on graph inputs: parameters, running statistics and the batch by name. */
export function forwardOf(trace: ModelTrace, p: Values, batch: Values, state: Values): Forward {
  const family = trace.name.replace(/[^a-z].*$/, "");
  if (family === "mlp") return mlp(trace.config, p, batch);
  if (family === "cnn") return cnn(trace.config, p, batch, state);
  if (family === "gpt") return gpt(trace.config, p, batch);
  throw new Error(`no model is called ${trace.name}`);
}

/** One AdamW step of one parameter, decoupled decay, as torch's: new value and moments. `step` is a float scalar from 1. */
export function adamW(
  { lr, betas: [b1, b2], eps, weight_decay }: ModelTrace["adamw"],
  p: Value,
  g: Value,
  m: Value,
  v: Value,
  corrections: { readonly first: Value; readonly second: Value },
): { p: Value; m: Value; v: Value } {
  const nextM = add(mul(m, b1), mul(g, 1 - b1));
  const nextV = add(mul(v, b2), mul(mul(g, g), 1 - b2));
  const unbiased = div(nextM, corrections.first);
  const scale = add(sqrt(div(nextV, corrections.second)), eps);
  return { p: sub(mul(p, 1 - lr * weight_decay), mul(div(unbiased, scale), lr)), m: nextM, v: nextV };
}

/** Graph inputs for tensors, by name. */
export function inputsFor(tensors: Readonly<Record<string, Tensor>>, prefix = ""): Record<string, GraphValue> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape }]) => [name, input(`${prefix}${name}`, dtype as DType, shape)]),
  );
}
