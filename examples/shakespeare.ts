// A character-level transformer on Shakespeare's plays, trained from scratch; writes a few lines at the end.
// npm run example shakespeare
import { add, input, matMul, type Runtime, type State, stateValue, transpose, type Value } from "@loomweight/graph";
import {
  attention,
  crossEntropy,
  embedding,
  initEmbedding,
  initLinear,
  initNorm,
  layerNorm,
  mlp,
} from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { adamw } from "@loomweight/optim";
import { createRandom, fromData, type Tensor } from "@loomweight/tensor";
import { readPlays } from "./data.ts";
import { isMain } from "./main.ts";

export const sizes = { width: 128, layers: 2, heads: 4, context: 64, batch: 16 };
type Weights = Readonly<Record<string, Value>>;

/** First weights, named as PyTorch would; the output layer is the embedding. */
export function initialWeights(characters: number, seed = 0): Record<string, Tensor> {
  const { width, layers, context } = sizes;
  const random = createRandom(seed, "shakespeare");
  const weights: Record<string, Tensor> = {
    ...initEmbedding(random, "wte", { count: characters, size: width, deviation: 0.02 }),
    ...initEmbedding(random, "wpe", { count: context, size: width, deviation: 0.02 }),
    ...initNorm("ln", { size: width }),
  };
  for (let layer = 0; layer < layers; layer++) {
    const linears = {
      "attn.q_proj": [1, 1],
      "attn.k_proj": [1, 1],
      "attn.v_proj": [1, 1],
      "attn.o_proj": [1, 1],
      "mlp.fc1": [1, 4],
      "mlp.fc2": [4, 1],
    };
    for (const [name, [inputs, outputs]] of Object.entries(linears)) {
      Object.assign(
        weights,
        initLinear(random, `h.${layer}.${name}`, { inputs: inputs * width, outputs: outputs * width }),
      );
    }
    for (const name of ["ln1", "ln2"]) Object.assign(weights, initNorm(`h.${layer}.${name}`, { size: width }));
  }
  return weights;
}

/** Logits [batch, length, characters] of what comes after each character of tokens int32 [batch, length]. */
export function predict(weights: Weights, tokens: Value): Value {
  const positions = fromData(
    "int32",
    Int32Array.from({ length: Number(tokens.shape[1]) }, (_, i) => i),
    [Number(tokens.shape[1])],
  );
  let x = add(embedding(weights, "wte", tokens), embedding(weights, "wpe", positions));
  for (let layer = 0; layer < sizes.layers; layer++) {
    const block = `h.${layer}`;
    const attended = attention(weights, `${block}.attn`, layerNorm(weights, `${block}.ln1`, x), {
      heads: sizes.heads,
      causal: true,
    });
    x = add(x, attended);
    x = add(x, mlp(weights, `${block}.mlp`, layerNorm(weights, `${block}.ln2`, x)));
  }
  return matMul(layerNorm(weights, "ln", x), transpose(weights["wte.weight"], [1, 0]));
}

/** Batch number `step`: pieces of the plays and, shifted by one, what follows each character. */
export function batchAt(codes: Int32Array, step: number): Record<string, Tensor> {
  const { batch, context } = sizes;
  const random = createRandom(step, "shakespeare/batch");
  const tokens = new Int32Array(batch * context);
  const targets = new Int32Array(batch * context);
  for (let row = 0; row < batch; row++) {
    const start = Math.floor(random.uniform(row) * (codes.length - context - 1));
    tokens.set(codes.subarray(start, start + context), row * context);
    targets.set(codes.subarray(start + 1, start + context + 1), row * context);
  }
  return {
    tokens: fromData("int32", tokens, [batch, context]),
    targets: fromData("int32", targets, [batch, context]),
  };
}

/** Trains for `steps`; gives the loss of every step and a text that goes on from `prompt`. */
export async function shakespeare({ steps = 600, prompt = "ROMEO:\n", write = 200, log = console.log } = {}): Promise<{
  losses: number[];
  text: string;
}> {
  const { codes, characters } = await readPlays();
  const runtime = await createRuntime();
  const training = await train({
    runtime,
    parameters: initialWeights(characters.length),
    loss: (weights, { tokens, targets }) => crossEntropy(predict(weights, tokens), targets, { ignore: null }),
    optimizer: adamw({ weightDecay: 0.1 }),
    learningRate: 1e-3,
    steps,
    *batches() {
      for (let step = 0; ; step++) yield batchAt(codes, step);
    },
  });
  const losses: number[] = [];
  for await (const { step, loss, milliseconds } of training) {
    losses.push(loss);
    if (step % 50 === 0) log(`step ${step}/${steps}  loss ${loss.toFixed(3)}  ${milliseconds.toFixed(0)} ms`);
  }
  const text = await writeOn(runtime, training.state, characters, prompt, write);
  await training.close();
  await runtime.close();
  return { losses, text };
}

/** Goes on from a prompt, one character after the other, each drawn by its probability. */
async function writeOn(
  runtime: Runtime,
  state: State,
  characters: string,
  prompt: string,
  count: number,
): Promise<string> {
  const { context } = sizes;
  const tokens = input("tokens", "int32", [1, context]);
  const weights = Object.fromEntries(
    [...state.tensors].map(([name, { dtype, shape }]) => [name, stateValue(name, dtype, shape)]),
  );
  const program = await runtime.compile({ outputs: { logits: predict(weights, tokens) } }, state);
  const random = createRandom(1, "shakespeare/text");
  const text = [...prompt];
  for (let i = 0; i < count; i++) {
    const recent = text.slice(-context).map((character) => characters.indexOf(character));
    const padded = Int32Array.from({ length: context }, (_, at) => recent[at] ?? 0);
    const { logits } = await program.run({ tokens: fromData("int32", padded, [1, context]) });
    const last = (logits.data as Float32Array).subarray(
      (recent.length - 1) * characters.length,
      recent.length * characters.length,
    );
    text.push(characters[draw(last, random.uniform(i))]);
  }
  await program.close();
  return text.join("");
}

/** The index at which the running sum of probabilities passes `at`. */
function draw(logits: Float32Array, at: number): number {
  const largest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp((logit - largest) / 0.8));
  let left = at * weights.reduce((sum, weight) => sum + weight, 0);
  const found = weights.findIndex((weight) => (left -= weight) < 0);
  return found < 0 ? logits.length - 1 : found;
}

if (isMain(import.meta.url)) {
  const { losses, text } = await shakespeare();
  console.log(`loss ${losses[0].toFixed(3)} at first, ${losses[losses.length - 1].toFixed(3)} at last\n\n${text}`);
}
