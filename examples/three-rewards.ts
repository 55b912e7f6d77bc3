// A small language model learns by reward: no capital letters, short lines, an end to its sentences. The three rewards
// are weighed as the training goes, by their gradients.
// npm run example three-rewards
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "@huggingface/tokenizers";
import { openModel } from "@loomweight/checkpoint/node";
import { cast, findParameters, type GraphValue, type ImportedModel, importOnnx, instantiate } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { buildModel } from "@loomweight/models";
import { adamw } from "@loomweight/optim";
import { type Act, bindWeighting, gradientWeights, type Policy, type Rollout, trainPolicy } from "@loomweight/rl";
import { createRandom, fromData, toFloat32 } from "@loomweight/tensor";
import { otherInputs } from "@loomweight/train";
import { isMain } from "./main.ts";

const folder = fileURLToPath(new URL("../fixtures/models/scribe/scribe-base", import.meta.url));
/** Of each prompt `samples` texts are written, `length` tokens long with the prompt. */
const sizes = { samples: 8, length: 28 };
const prompts = ["First Citizen:\nWe", "ROMEO:\nI", "The King ", "What say you"];

/** What a text is paid: 1 for no capital letters after the prompt, for lines of at most 30 characters, for an end. */
export function rewardsOf(text: string): number[] {
  const lines = text.split("\n");
  return [/[A-Z]/.test(text) ? 0 : 1, lines.every((line) => line.length <= 30) ? 1 : 0, /[.!?]/.test(text) ? 1 : 0];
}

/** Logits [N, T, vocabulary] of what follows each token: the exported graph with an empty cache. */
const policyOf =
  (imported: ImportedModel): Policy =>
  (parameters, { tokens }) => {
    const inputs = { input_ids: cast(tokens, "int64") };
    const others = otherInputs(imported, inputs, [Number(tokens.shape[0]), Number(tokens.shape[1])]);
    return instantiate(imported, { inputs: { ...inputs, ...others }, parameters }).outputs.logits;
  };

/** Trains for `steps`; gives the mean rewards and the weights of every step. */
export async function threeRewards({
  steps = 30,
  log = console.log,
} = {}): Promise<{ rewards: readonly number[]; weights: readonly number[] }[]> {
  const model = await openModel(folder);
  const { model: graph } = await buildModel(model, "text-generation", { fuse: "none" });
  const imported = await importOnnx(graph);
  const read = async (name: string) => JSON.parse(await readFile(join(folder, name), "utf8"));
  const tokenizer = new Tokenizer(await read("tokenizer.json"), await read("tokenizer_config.json"));
  const encoded = prompts.map((prompt) => tokenizer.encode(prompt).ids);
  const runtime = await createRuntime();

  /** Texts of all prompts, token by token. */
  const write = async (act: Act, step: number): Promise<Rollout & { texts: string[] }> => {
    const { samples, length } = sizes;
    const count = prompts.length * samples;
    const tokens = new Int32Array(count * length);
    for (let i = 0; i < count; i++) tokens.set(encoded[Math.floor(i / samples)], i * length);
    const random = createRandom(step, "texts");
    const shape = [count, length];
    const shortest = Math.min(...encoded.map((ids) => ids.length));
    for (let at = shortest; at < length; at++) {
      const logits = await act({ tokens: fromData("int32", tokens.slice(), shape) });
      const [values, vocabulary] = [toFloat32(logits), logits.shape[2]];
      for (let i = 0; i < count; i++) {
        if (at < encoded[Math.floor(i / samples)].length) continue;
        const row = values.subarray((i * length + at - 1) * vocabulary, (i * length + at) * vocabulary);
        tokens[i * length + at] = draw(row, random.uniform(i * length + at));
      }
    }
    // The action at a position is the token that follows it; those of the prompt are not the policy's own.
    const actions = new Int32Array(count * length);
    const mask = new Float32Array(count * length);
    const texts = [];
    for (let i = 0; i < count; i++) {
      const start = encoded[Math.floor(i / samples)].length;
      const row = tokens.subarray(i * length, (i + 1) * length);
      actions.set(row.subarray(1), i * length);
      mask.fill(1, i * length + start - 1, (i + 1) * length - 1);
      texts.push(tokenizer.decode([...row.subarray(start)], { skip_special_tokens: true }));
    }
    return {
      inputs: { tokens: fromData("int32", tokens, shape) },
      actions: fromData("int32", actions, shape),
      mask: fromData("float32", mask, shape),
      rewards: fromData("float32", Float32Array.from(texts.flatMap(rewardsOf)), [count, 3]),
      group: Int32Array.from({ length: count }, (_, i) => Math.floor(i / samples)),
      texts,
    };
  };

  const training = await trainPolicy({
    runtime,
    parameters: Object.fromEntries(
      [...findParameters(imported, /^model\./)].map(([name, { data }]) => [
        name,
        data as NonNullable<GraphValue["data"]>,
      ]),
    ),
    policy: policyOf(imported),
    rollout: write,
    weighting: bindWeighting(gradientWeights, { mu: 2e-4 / 0.5 }),
    objectives: { weights: [0.8, 0.1, 0.1] },
    estimator: "grpo",
    kl: { beta: 0.01 },
    optimizer: adamw({ weightDecay: 0 }),
    learningRate: 2e-4,
    steps,
  });
  const told: { rewards: readonly number[]; weights: readonly number[] }[] = [];
  const shown = (numbers: readonly number[]) => numbers.map((each) => each.toFixed(2)).join(" ");
  for await (const { step, rewards, mixture } of training) {
    told.push({ rewards, weights: mixture.weights });
    if (step === 1 || step % 5 === 0) log(`step ${step}  rewards ${shown(rewards)}  weights ${shown(mixture.weights)}`);
  }
  log(`\n${(await write(training.act, 0)).texts.slice(0, 2).join("\n--\n")}`);
  await training.close();
  await runtime.close();
  await model.close();
  return told;
}

/** The index at which the running sum of probabilities passes `at`. */
function draw(logits: Float32Array, at: number): number {
  const largest = logits.reduce((most, each) => Math.max(most, each));
  const factors = logits.map((logit) => Math.exp(logit - largest));
  let left = at * factors.reduce((sum, each) => sum + each, 0);
  const found = factors.findIndex((each) => (left -= each) < 0);
  return found < 0 ? logits.length - 1 : found;
}

if (isMain(import.meta.url)) await threeRewards();
