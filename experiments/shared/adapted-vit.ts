import {
  adapterRandom,
  type BlockMethod,
  type BlockShape,
  countBlockParameters,
  type Params,
} from "@loomweight/adapters";
import type { Dataset } from "@loomweight/data";
import type { Runtime } from "@loomweight/graph";
import { parseOptions } from "@loomweight/tensor";
import { turnedDigits } from "./digits.ts";
import { fit, type Model, score, type Weights } from "./fit.ts";
import { initHead, initVit, shape, vitModel } from "./tiny-vit.ts";

/** How much is trained on; a short run is for the test. */
export interface Scale {
  readonly pretrain: number;
  readonly pretrainEpochs: number;
  readonly adapt: number;
  readonly epochs: number;
  readonly test: number;
}
export const whole: Scale = { pretrain: 3000, pretrainEpochs: 20, adapt: 600, epochs: 20, test: 1500 };
export const short: Scale = { pretrain: 1500, pretrainEpochs: 8, adapt: 300, epochs: 8, test: 1000 };

/** A ViT pre-trained on upright digits, and a small set of digits turned by 60° to adapt it to. */
export interface Task {
  readonly runtime: Runtime;
  readonly seed: number;
  readonly base: Weights;
  readonly data: Dataset;
  readonly test: Dataset;
  readonly scale: Scale;
  /** Accuracy of the base on upright digits, and on turned ones. */
  readonly upright: number;
  readonly frozen: number;
}

export async function turnedTask(runtime: Runtime, seed: number, scale: Scale): Promise<Task> {
  const plain = vitModel();
  const { pretrain, adapt, test } = scale;
  const { weights: base } = await fit({
    runtime,
    model: plain,
    weights: initVit(seed),
    data: await turnedDigits(seed, 0, 0, pretrain),
    epochs: scale.pretrainEpochs,
    rate: 3e-3,
    seed,
  });
  const data = await turnedDigits(seed, 60, pretrain, adapt);
  const held = await turnedDigits(seed, 60, pretrain + adapt, test);
  const upright = await score(plain, base, await turnedDigits(seed, 0, pretrain + adapt, test));
  return { runtime, seed, base, data, test: held, scale, upright, frozen: await score(plain, base, held) };
}

/** Trains what `trainable` names of the plain ViT with a new head; test accuracy. */
export async function withoutAdapter(task: Task, trainable: (name: string) => boolean, rate: number): Promise<number> {
  const weights = { ...task.base, ...initHead(task.seed + 100) };
  const model = vitModel();
  const { weights: found } = await fit({ ...task, model, weights, trainable, epochs: task.scale.epochs, rate });
  return score(model, found, task.test);
}

/** A method of block scope on sites of the ViT ("mlp", or whole blocks: ""), trained with a new head. */
export async function withAdapter(
  task: Task,
  method: BlockMethod,
  given: Readonly<Record<string, unknown>>,
  place: "" | ".attn" | ".mlp",
  rate = 1e-2,
): Promise<{ accuracy: number; trained: number }> {
  const options = parseOptions(method.options, given, method.name);
  const sites: BlockShape[] = Array.from({ length: shape.depth }, (_, index) => ({
    path: `blocks.${index}${place}`,
    index,
    in: shape.width,
    out: shape.width,
  }));
  const model: Model = vitModel((weights) => (at) => {
    const site = sites.find(({ path }) => path === at.path);
    if (site === undefined) return undefined;
    const own = Object.keys(method.params(site, options)).map((name) => [
      name,
      weights[`adapters.${site.path}.${name}`],
    ]);
    return method.apply({ ...at, ...site }, Object.fromEntries(own) as Params, options);
  });
  const adapters = Object.fromEntries(
    sites.flatMap((site) =>
      Object.entries(method.init(site, options, { random: adapterRandom(task.seed, site.path) })).map(
        ([name, tensor]) => [`adapters.${site.path}.${name}`, tensor],
      ),
    ),
  );
  const { weights } = await fit({
    ...task,
    model,
    weights: { ...task.base, ...initHead(task.seed + 100), ...adapters },
    trainable: (name) => name.startsWith("adapters.") || name.startsWith("head."),
    epochs: task.scale.epochs,
    rate,
  });
  return { accuracy: await score(model, weights, task.test), trained: countBlockParameters(method, sites, options) };
}
