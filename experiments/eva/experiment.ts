import { lora } from "@loomweight/adapters";
import type { AdapterSpec } from "@loomweight/adapters/attach";
import { batches, type Dataset } from "@loomweight/data";
import { add, mul, type Runtime, reduceMean, sub } from "@loomweight/graph";
import { crossEntropy, linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { contiguousData, createRandom, fromData, normal, type Tensor } from "@loomweight/tensor";
import { type AdapterLoss, evaStart } from "@loomweight/train";
import { adapt, frozenModel } from "../shared/adapted-model.ts";
import { turnedDigits } from "../shared/digits.ts";
import { fit } from "../shared/fit.ts";
import { initMlp, mlpModel } from "../shared/mlp.ts";
import { claim, collector, mean, meanOf, type Results } from "../shared/report.ts";

export interface Scale {
  /** Digits that the network learns first, of half of the classes. */
  readonly pretrain: number;
  readonly adapt: number;
  readonly epochs: number;
}
export const whole: Scale = { pretrain: 4000, adapt: 2000, epochs: 8 };
/** The regressions alone, for the test. */
export const short: Scale = { pretrain: 0, adapt: 0, epochs: 0 };

const width = 24;
/** Axes along which the inputs of the two layers really vary; the others have a deviation of 0.05. */
const dimensions = [2, 6] as const;

/** Two independent regressions with inputs of few dimensions and random full matrices as targets. */
async function regressions(
  runtime: Runtime,
  seed: number,
): Promise<(name: string, rho?: number) => Promise<{ losses: readonly number[]; ranks: string; trained: number }>> {
  const random = createRandom(seed, "eva regressions");
  const count = 256;
  const data: Record<string, Tensor> = {};
  const weights: Record<string, Tensor> = {};
  dimensions.forEach((real, i) => {
    const drawn = normal([count, width], random.child(`inputs ${i}`), { deviation: 1 });
    const turn = contiguousData(normal([width, width], random.child(`axes ${i}`), { deviation: 1 })) as Float32Array;
    const axes = orthonormal(turn, width);
    const values = contiguousData(drawn) as Float32Array;
    const x = new Float32Array(count * width);
    for (let n = 0; n < count; n++) {
      for (let axis = 0; axis < width; axis++) {
        const along = values[n * width + axis] * (axis < real ? 1 : 0.05);
        for (let j = 0; j < width; j++) x[n * width + j] += along * axes[axis * width + j];
      }
    }
    const target = contiguousData(
      normal([width, width], random.child(`target ${i}`), { deviation: 1 / Math.sqrt(width) }),
    ) as Float32Array;
    const y = new Float32Array(count * width);
    for (let n = 0; n < count; n++) {
      for (let o = 0; o < width; o++) {
        for (let j = 0; j < width; j++) y[n * width + o] += x[n * width + j] * target[o * width + j];
      }
    }
    data[`x${i}`] = fromData("float32", x, [count, width]);
    data[`y${i}`] = fromData("float32", y, [count, width]);
    weights[`layer${i}.weight`] = fromData("float32", new Float32Array(width * width), [width, width]);
  });
  const shape = [count, width];
  const model = frozenModel(
    weights,
    { x0: { dtype: "float32", shape }, x1: { dtype: "float32", shape } },
    (own, { x0, x1 }) => ({ y0: linear(own, "layer0", x0), y1: linear(own, "layer1", x1) }),
  );
  const loss: AdapterLoss = (outputs, batch) => {
    const errors = ["y0", "y1"].map((name) => sub(outputs[name], batch[name]));
    const [a, b] = errors.map((error) => reduceMean(mul(error, error), [0, 1], false));
    return add(a, b);
  };
  const { y0: _, y1: __, ...inputs } = data;
  return async (_name, rho) => {
    const adapter: AdapterSpec = { method: lora, options: { rank: 4, alpha: 4 }, targets: ["layer0", "layer1"] };
    const begun =
      rho === undefined ? { adapter } : await evaStart({ runtime, model, adapter, rho, batches: () => [inputs] });
    const found = await adapt({ runtime, model, ...begun, data: data as Dataset, loss, steps: 201, rate: 1e-2, seed });
    const ranks = ["layer0", "layer1"].map((path) => found.parameters[`${path}.A`]?.shape[0] ?? 0).join(", ");
    return { losses: found.losses, ranks, trained: found.trained };
  };
}

/** Rows made orthonormal one after the other. */
function orthonormal(rows: Float32Array, size: number): Float64Array {
  const out = Float64Array.from(rows);
  const row = (i: number) => out.subarray(i * size, (i + 1) * size);
  for (let i = 0; i < size; i++) {
    for (let before = 0; before < i; before++) {
      const along = row(i).reduce((sum, value, j) => sum + value * row(before)[j], 0);
      row(before).forEach((value, j) => {
        row(i)[j] -= along * value;
      });
    }
    const length = Math.hypot(...row(i));
    for (let j = 0; j < size; j++) row(i)[j] /= length;
  }
  return out;
}

/** Digits of the classes from `first` to `first + 4`. */
async function half(seed: number, first: number, from: number, count: number): Promise<Dataset> {
  const all = (await turnedDigits(seed, 0, from, count)) as { image: Tensor; label: Tensor };
  const labels = contiguousData(all.label) as Int32Array;
  const pixels = contiguousData(all.image) as Float32Array;
  const size = all.image.shape[1];
  const kept = [...labels.keys()].filter((n) => labels[n] >= first && labels[n] < first + 5);
  const image = new Float32Array(kept.length * size);
  kept.forEach((n, i) => {
    image.set(pixels.subarray(n * size, (n + 1) * size), i * size);
  });
  return {
    image: fromData("float32", image, [kept.length, size]),
    label: fromData(
      "int32",
      Int32Array.from(kept, (n) => labels[n]),
      [kept.length],
    ),
  };
}

const batchSize = 50;

/** An MLP that knows the digits 0 to 4 learns 5 to 9, all of it frozen but a LoRA on each of its layers. */
async function digits(runtime: Runtime, seed: number, scale: Scale) {
  const { weights } = await fit({
    runtime,
    model: mlpModel(),
    weights: initMlp(seed),
    data: await half(seed, 0, 0, scale.pretrain),
    epochs: 4,
    rate: 1e-3,
    seed,
  });
  const data = await half(seed, 5, scale.pretrain, scale.adapt);
  const model = frozenModel(weights, { image: { dtype: "float32", shape: ["batch", 256] } }, (own, { image }) => ({
    logits: mlpModel()(own, image),
  }));
  const loss: AdapterLoss = ({ logits }, { label }) => crossEntropy(logits, label, { ignore: null });
  const adapter: AdapterSpec = { method: lora, options: { rank: 4, alpha: 4 }, targets: ["fc1", "fc2", "head"] };
  return async (rho?: number) => {
    const images = () => batches({ image: data.image }, { batchSize: 200, rest: "drop" });
    const begun = rho === undefined ? { adapter } : await evaStart({ runtime, model, adapter, rho, batches: images });
    const found = await adapt({
      runtime,
      model,
      ...begun,
      data,
      loss,
      epochs: scale.epochs,
      batchSize,
      rate: 1e-2,
      seed,
    });
    return { losses: found.losses, trained: found.trained };
  };
}

/** Means over the `window` steps that end at each step. */
function trailing(losses: readonly number[], window: number): number[] {
  return losses.map((_, i) => (i + 1 < window ? Number.POSITIVE_INFINITY : mean(losses.slice(i + 1 - window, i + 1))));
}

const variants: readonly (readonly [string, number | undefined])[] = [
  ["LoRA", undefined],
  ["EVA, ρ = 1", 1],
  ["EVA, ρ = 2", 2],
];

export async function run(seeds: readonly number[], scale: Scale): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  const ranks = new Set<string>();
  for (const seed of seeds) {
    const regress = await regressions(runtime, seed);
    for (const [name, rho] of variants) {
      const { losses, ranks: own, trained } = await regress(name, rho);
      if (rho === 2) ranks.add(own);
      const at = (step: number) => losses[step];
      found.add(name, trained, { "loss at 10": at(10), "loss at 50": at(50), "loss at 200": at(200) });
    }
    if (scale.epochs === 0) continue;
    const learn = await digits(runtime, seed, scale);
    const runs = new Map<string, Awaited<ReturnType<typeof learn>>>();
    for (const [name, rho] of variants) runs.set(name, await learn(rho));
    const epoch = (runs.get("LoRA")?.losses.length ?? 0) / scale.epochs;
    const level = trailing(runs.get("LoRA")?.losses ?? [], epoch).at(-1) as number;
    for (const [name, { losses, trained }] of runs) {
      const reached = trailing(losses, epoch).findIndex((loss) => loss <= level) + 1;
      found.add(`digits: ${name}`, trained, { "steps to LoRA's last loss": reached > 0 ? reached : losses.length });
    }
  }
  await runtime.close();
  const rows = found.rows();
  const at = (name: string, measure: string) => meanOf(rows, name, measure);
  const first = {
    LoRA: at("LoRA", "loss at 10"),
    "ρ = 1": at("EVA, ρ = 1", "loss at 10"),
    "ρ = 2": at("EVA, ρ = 2", "loss at 10"),
  };
  const last = {
    LoRA: at("LoRA", "loss at 200"),
    "ρ = 1": at("EVA, ρ = 1", "loss at 200"),
    "ρ = 2": at("EVA, ρ = 2", "loss at 200"),
  };
  const claims = [
    claim(
      "EVA's loss after 10 steps is lower than LoRA's by a quarter and more",
      Math.max(first["ρ = 1"], first["ρ = 2"]) <= 0.75 * first.LoRA,
      first,
    ),
    claim("ρ = 2 ends 8 times lower than both", 8 * last["ρ = 2"] <= Math.min(last.LoRA, last["ρ = 1"]), last),
    claim("ρ = 2 chooses the ranks 2 and 6, every time", ranks.size === 1 && ranks.has("2, 6"), {
      "ranks chosen": ranks.size,
    }),
  ];
  if (scale.epochs > 0) {
    const steps = (name: string) => at(`digits: ${name}`, "steps to LoRA's last loss");
    const found = { LoRA: steps("LoRA"), "ρ = 1": steps("EVA, ρ = 1"), "ρ = 2": steps("EVA, ρ = 2") };
    claims.push(
      claim(
        "digits: EVA reaches the mean loss of LoRA's last epoch in two thirds of the steps",
        Math.max(found["ρ = 1"], found["ρ = 2"]) <= (2 / 3) * found.LoRA,
        found,
      ),
    );
  }
  return { title: "EVA: loss after 10 steps, two regressions", seeds, rows, claims };
}
