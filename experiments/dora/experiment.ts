import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { dora, factoredSquares, lora } from "@loomweight/adapters";
import type { Dataset } from "@loomweight/data";
import { add, input, matMul, mul, type Runtime, reduceMean, reduceSumSquare, sqrt, sub } from "@loomweight/graph";
import { linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { cast, contiguousData, createRandom, fromData, normal, type Tensor, uniform } from "@loomweight/tensor";
import type { AdapterLoss } from "@loomweight/train";
import { adapt, frozenModel } from "../shared/adapted-model.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";
import type { Measured, Measurement } from "./measure.ts";

export interface Scale {
  readonly steps: number;
  /** Measures memory and processor time in processes of their own. */
  readonly measured: boolean;
}
export const whole: Scale = { steps: 600, measured: true };
export const short: Scale = { steps: 600, measured: false };

const width = 16;
const numbersOf = (tensor: Tensor) => contiguousData(tensor) as Float32Array;

/** A random row rescaling of W + a rank-one matrix: what DoRA of rank 1 can say, and LoRA needs ranks for. */
async function regressions(runtime: Runtime, seed: number, steps: number, found: ReturnType<typeof collector>) {
  const random = createRandom(seed, "dora regression");
  const count = 256;
  const draw = (name: string, shape: readonly number[], deviation: number) =>
    numbersOf(normal(shape, random.child(name), { deviation }));
  const weight = draw("weight", [width, width], 1 / Math.sqrt(width));
  const [left, right] = [draw("left", [width], 0.45), draw("right", [width], 1 / Math.sqrt(width))];
  const sizes = numbersOf(uniform([width], random.child("sizes"), { low: 0.5, high: 2 }));
  const x = draw("inputs", [count, width], 1);
  const y = new Float32Array(count * width);
  for (let n = 0; n < count; n++) {
    for (let o = 0; o < width; o++) {
      for (let i = 0; i < width; i++) {
        y[n * width + o] += sizes[o] * (weight[o * width + i] + left[o] * right[i]) * x[n * width + i];
      }
    }
  }
  const shape = [count, width];
  const model = frozenModel(
    { "layer.weight": fromData("float32", weight, [width, width]) },
    { x: { dtype: "float32", shape } },
    (own, inputs) => ({ y: linear(own, "layer", inputs.x) }),
  );
  const data: Dataset = { x: fromData("float32", x, shape), y: fromData("float32", y, shape) };
  const loss: AdapterLoss = (outputs, batch) => {
    const error = sub(outputs.y, batch.y);
    return reduceMean(mul(error, error), [0, 1], false);
  };
  for (const [name, method, rank] of [
    ["LoRA, r = 1", lora, 1],
    ["LoRA, r = 2", lora, 2],
    ["LoRA, r = 4", lora, 4],
    ["DoRA, r = 1", dora, 1],
  ] as const) {
    const adapter = { method, options: { rank, alpha: rank }, targets: ["layer"] };
    const { losses, trained } = await adapt({
      runtime,
      model,
      adapter,
      data,
      loss,
      steps: steps + 1,
      rate: 1e-2,
      seed,
    });
    found.add(name, trained, { "first loss": losses[0], "last loss": losses.at(-1) as number });
  }
}

const bf16 = (values: Float64Array | Float32Array): Float64Array =>
  Float64Array.from(
    numbersOf(cast(cast(fromData("float32", Float32Array.from(values), [values.length]), "bfloat16"), "float32")),
  );

/**
 * Relative error (root mean square) of (g − 1) · base + g · s · lora near g = 1 in bfloat16, every step rounded: as
 * g · (s · lora + base) − base; as it stands with g in bfloat16; with g in float32.
 */
function composition(seed: number): { naive: number; rounded: number; stable: number } {
  const random = createRandom(seed, "dora compose");
  const count = 20_000;
  const [scale, gain] = [0.02, 1.0009];
  const base = bf16(numbersOf(normal([count], random.child("base"), { deviation: 1 })));
  const lora = bf16(numbersOf(normal([count], random.child("lora"), { deviation: 1 })));
  const exact = base.map((value, i) => (gain - 1) * value + gain * scale * lora[i]);
  const scaled = bf16(lora.map((value) => scale * value));
  const g = bf16(Float64Array.of(gain))[0];
  const inner = bf16(scaled.map((value, i) => value + base[i]));
  // bfloat16 has no 1.0009: even exact products cannot save what the rounded gain lost.
  const naive = bf16(bf16(inner.map((value) => gain * value)).map((value, i) => value - base[i]));
  const rounded = bf16(
    bf16(base.map((value) => (g - 1) * value)).map((value, i) => value + bf16(Float64Array.of(g * scaled[i]))[0]),
  );
  const stable = bf16(base.map((value, i) => Math.fround((gain - 1) * value + gain * scaled[i])));
  const size = Math.hypot(...exact);
  const error = (values: Float64Array) => Math.hypot(...values.map((value, i) => value - exact[i])) / size;
  return { naive: error(naive), rounded: error(rounded), stable: error(stable) };
}

/** Largest relative error of the factored row norm in float32, 64 × 512, rank 64. */
async function normError(runtime: Runtime, seed: number): Promise<number> {
  const random = createRandom(seed, "dora norm");
  const tensors = {
    weight: normal([64, 512], random.child("weight"), { deviation: 1 }),
    A: normal([64, 512], random.child("A"), { deviation: 1 }),
    B: normal([64, 64], random.child("B"), { deviation: 1 }),
  };
  const [weight, A, B] = Object.entries(tensors).map(([name, { shape }]) => input(name, "float32", shape));
  const { norm } = await runtime.evaluate({ norm: sqrt(factoredSquares(weight, { A, B }, 0.5)) }, tensors);
  const wide = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, cast(tensor, "float64")]));
  const sum = add(wide.weight, mul(matMul(wide.B, wide.A), 0.5));
  const exact = contiguousData(sqrt(reduceSumSquare(sum, [1], true)) as Tensor) as Float64Array;
  return numbersOf(norm).reduce((most, value, i) => Math.max(most, Math.abs(value / exact[i] - 1)), 0);
}

function measured(given: Measurement): Measured {
  const file = fileURLToPath(new URL("measure.ts", import.meta.url));
  const flags = ["--conditions=@loomweight/source", "--import", "tsx", file, JSON.stringify(given)];
  return JSON.parse(execFileSync(process.execPath, flags, { encoding: "utf8" })) as Measured;
}

const norms = [
  ["norm: by an identity matrix (PEFT)", "identity"],
  ["norm: dense product", "dense"],
  ["norm: factored", "factored"],
] as const;
const layers = [
  ["LoRA", "lora"],
  ["DoRA in PEFT's order", "composed"],
  ["DoRA, factored and fused", "fused"],
] as const;

/** Processor time and memory, once a seed as repeated measurements. */
function measurements(found: ReturnType<typeof collector>): void {
  const add = (name: string, given: Measurement) => {
    const { milliseconds, mebibytes } = measured(given);
    found.add(name, 0, { milliseconds, MiB: mebibytes });
  };
  for (const [name, form] of norms) add(name, { what: "norm", form, out: 4096, in: 4096, rank: 384, rows: 1 });
  for (const form of ["composed", "fused"] as const)
    add(`composition: ${form}`, { what: "compose", form, out: 4096, in: 0, rank: 16, rows: 2048 });
  for (const what of ["forward", "step"] as const) {
    for (const [name, form] of layers)
      add(`${what}: ${name}`, { what, form, out: 2048, in: 2048, rank: 384, rows: 512 });
  }
}

export async function run(seeds: readonly number[], scale: Scale): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  const errors: number[] = [];
  for (const seed of seeds) {
    await regressions(runtime, seed, scale.steps, found);
    const { naive, rounded, stable } = composition(seed);
    found.add("bfloat16: g (s lora + base) − base", 0, { "relative error": naive });
    found.add("bfloat16: (g − 1) base + g s lora", 0, { "relative error": rounded });
    found.add("the same, g in float32", 0, { "relative error": stable });
    errors.push(await normError(runtime, seed));
    if (scale.measured && seeds.indexOf(seed) < 3) measurements(found);
  }
  await runtime.close();
  const rows = found.rows();
  const at = (name: string, measure: string) => meanOf(rows, name, measure);
  const claims = [
    claim(
      "DoRA of rank 1 ends at less than half of LoRA's loss at rank 4",
      at("DoRA, r = 1", "last loss") < at("LoRA, r = 4", "last loss") / 2,
      {
        "LoRA, r = 1": at("LoRA, r = 1", "last loss"),
        "LoRA, r = 4": at("LoRA, r = 4", "last loss"),
        "DoRA, r = 1": at("DoRA, r = 1", "last loss"),
      },
    ),
    claim(
      "near g = 1 in bfloat16 the stable form with g in float32 is 20 times closer than the naive one",
      20 * at("the same, g in float32", "relative error") <= at("bfloat16: g (s lora + base) − base", "relative error"),
      {
        naive: at("bfloat16: g (s lora + base) − base", "relative error"),
        stable: at("the same, g in float32", "relative error"),
      },
    ),
    claim("the factored norm in float32 is right within 1e-6 of it", Math.max(...errors) <= 1e-6, {
      "largest error, in millionths": 1e6 * Math.max(...errors),
    }),
  ];
  if (scale.measured) {
    const [identity, factored] = [norms[0][0], norms[2][0]];
    const pairs = (measure: string) => ({ PEFT: at(identity, measure), factored: at(factored, measure) });
    const layer = (what: string, form: 1 | 2) => at(`${what}: ${layers[form][0]}`, "milliseconds");
    claims.push(
      claim(
        "the factored norm takes a tenth of the memory of the dense one, and less",
        10 * at(factored, "MiB") <= Math.min(at(identity, "MiB"), at(norms[1][0], "MiB")),
        pairs("MiB"),
      ),
      claim(
        "the factored norm takes two thirds of the time of PEFT's, and less",
        at(factored, "milliseconds") <= (2 / 3) * at(identity, "milliseconds"),
        pairs("milliseconds"),
      ),
      claim(
        "the fused composition takes less time than that pass by pass",
        at("composition: fused", "milliseconds") < at("composition: composed", "milliseconds"),
        {
          composed: at("composition: composed", "milliseconds"),
          fused: at("composition: fused", "milliseconds"),
        },
      ),
      claim(
        "a layer's output and its gradients take less time than in PEFT's order",
        layer("forward", 2) < layer("forward", 1) && layer("step", 2) < layer("step", 1),
        {
          "forward, PEFT's order": layer("forward", 1),
          "forward, ours": layer("forward", 2),
          "step, PEFT's order": layer("step", 1),
          "step, ours": layer("step", 2),
        },
      ),
    );
  }
  return { title: "DoRA: memory that a run adds, by part", seeds, rows, claims };
}
