// How long a training graph of a 135 M Llama (30 layers of width 576, vocabulary 49,152, AdamW) takes to build and load:
// node --conditions=@loomweight/source --import tsx bench/training/compile.ts. Processor time tells more than the clock
// where other programs run.
import { add, assemble, encodeOnnx, gradient, input, inputsOf, stateValue } from "@loomweight/graph";
import { attention, embedding, gatedMlp, linearCrossEntropy, rmsNorm } from "@loomweight/graph/nn";
import { openSession } from "@loomweight/graph/node";
import { adamw } from "@loomweight/optim";

const [vocabulary, width, layers, heads, keyValueHeads, inner, length] = [49152, 576, 30, 9, 3, 1536, 128];

const shapes: Record<string, readonly number[]> = {
  "embed_tokens.weight": [vocabulary, width],
  "norm.weight": [width],
};
for (let layer = 0; layer < layers; layer++) {
  const shared = (width / heads) * keyValueHeads;
  const own: Record<string, readonly number[]> = {
    "self_attn.q_proj": [width, width],
    "self_attn.k_proj": [shared, width],
    "self_attn.v_proj": [shared, width],
    "self_attn.o_proj": [width, width],
    "mlp.gate_proj": [inner, width],
    "mlp.up_proj": [inner, width],
    "mlp.down_proj": [width, inner],
    input_layernorm: [width],
    post_attention_layernorm: [width],
  };
  for (const [name, shape] of Object.entries(own)) shapes[`layers.${layer}.${name}.weight`] = shape;
}
const valuesOf = (prefix: string) =>
  Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, stateValue(`${prefix}${name}`, "float32", shape)]),
  );

let processor = process.cpuUsage();
let clock = performance.now();
let total = 0;
function lap(what: string): void {
  const { user, system } = process.cpuUsage(processor);
  total += (user + system) / 1000;
  console.log(
    `${what}: ${((user + system) / 1000).toFixed(0)} ms of processor, ${(performance.now() - clock).toFixed(0)} ms`,
  );
  processor = process.cpuUsage();
  clock = performance.now();
}

const p = valuesOf("");
const [ids, targets] = ["ids", "targets"].map((name) => input(name, "int32", [1, length]));
let h = embedding(p, "embed_tokens", ids);
for (let layer = 0; layer < layers; layer++) {
  const name = `layers.${layer}`;
  const attended = attention(p, `${name}.self_attn`, rmsNorm(p, `${name}.input_layernorm`, h), {
    heads,
    keyValueHeads,
    causal: true,
    rope: {},
  });
  h = add(h, attended);
  h = add(h, gatedMlp(p, `${name}.mlp`, rmsNorm(p, `${name}.post_attention_layernorm`, h)));
}
const loss = linearCrossEntropy(rmsNorm(p, "norm", h), p["embed_tokens.weight"], targets, { ignore: null });
lap("forward");
const gradients = gradient(loss, p);
lap("gradient");
const optimizer = adamw();
const [first, second] = [valuesOf("exp_avg/"), valuesOf("exp_avg_sq/")];
const moments = [first, second].flatMap((each) => Object.values(each));
const next = optimizer.update({
  parameters: p,
  gradients,
  state: Object.fromEntries(moments.map((value) => [value.name as string, value])),
  scalars: Object.fromEntries(
    Object.keys(optimizer.scalars(1, 1e-3)).map((name) => [name, input(`scalar/${name}`, "float32", [])]),
  ),
  gradientsAt: () => gradients,
});
lap("optimizer");
const outputs = { loss, ...prefixed("next/", next.parameters), ...prefixed("next/", next.state) };
const model = assemble({
  name: "llama",
  inputs: [...inputsOf(Object.values(outputs)), ...Object.values(p), ...moments],
  outputs,
});
lap(`assembling ${model.graph.nodes.length} nodes`);
const bytes = await encodeOnnx(model);
lap(`encoding ${(bytes.length / 1e6).toFixed(1)} MB`);
const session = await openSession(bytes, { threads: 1 });
lap("loading");
console.log(`together ${(total / 1000).toFixed(2)} s of processor`);
await session.close();

function prefixed<T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value]));
}
