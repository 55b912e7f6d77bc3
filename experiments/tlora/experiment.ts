import { lora, tlora } from "@loomweight/adapters";
import type { AdapterSpec } from "@loomweight/adapters/attach";
import type { Dataset } from "@loomweight/data";
import { mul, reduceMean, sub } from "@loomweight/graph";
import { linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { contiguousData, createRandom, fromData, normal } from "@loomweight/tensor";
import type { AdapterLoss } from "@loomweight/train";
import { adapt, frozenModel } from "../shared/adapted-model.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

const width = 16;
const side = 4;
const options = { modes: 2, residual: "lora", rankResidual: 1, alpha: 1 } as const;

const variants: readonly (readonly [string, AdapterSpec])[] = [
  ["LoRA, r = 1", { method: lora, options: { rank: 1, alpha: 1 }, targets: ["layer"] }],
  ["LoRA, r = 4", { method: lora, options: { rank: 4, alpha: 4 }, targets: ["layer"] }],
  ["T of ring rank 1 + LoRA", { method: tlora, options: { ...options, rankTransform: 1 }, targets: ["layer"] }],
  [
    "T of ring rank 2, paper's start + LoRA",
    { method: tlora, options: { ...options, rankTransform: 2, init: "paper" }, targets: ["layer"] },
  ],
  ["T of ring rank 2 + LoRA", { method: tlora, options: { ...options, rankTransform: 2 }, targets: ["layer"] }],
];
const kinds = ["one Kronecker product", "two Kronecker terms"] as const;

type Matrix = (row: number, column: number) => number;

/** (1 + E₁) ⊗ (1 + E₂), or 1 + E₁ ⊗ E₂ + E₃ ⊗ E₄. */
function transform(kind: (typeof kinds)[number], draw: (name: string) => Matrix): Matrix {
  const one = (i: number, j: number) => (i === j ? 1 : 0);
  const kronecker =
    (a: Matrix, b: Matrix): Matrix =>
    (i, j) =>
      a(Math.floor(i / side), Math.floor(j / side)) * b(i % side, j % side);
  const [a, b, c, d] = ["E1", "E2", "E3", "E4"].map(draw);
  if (kind === kinds[0])
    return kronecker(
      (i, j) => one(i, j) + a(i, j),
      (i, j) => one(i, j) + b(i, j),
    );
  const [first, second] = [kronecker(a, b), kronecker(c, d)];
  return (i, j) => one(i, j) + first(i, j) + second(i, j);
}

/** Inputs, and what W T + a matrix of rank one makes of them; the loss relative to that of W alone. */
function problem(seed: number, kind: (typeof kinds)[number]) {
  const random = createRandom(seed, `tlora ${kind}`);
  const draw = (name: string, shape: readonly number[], deviation: number) =>
    contiguousData(normal(shape, random.child(name), { deviation })) as Float32Array;
  const small = (name: string): Matrix => {
    const values = draw(name, [side, side], kind === kinds[0] ? 0.3 : 0.5);
    return (i, j) => values[i * side + j];
  };
  const count = 256;
  const weight = draw("weight", [width, width], 1 / Math.sqrt(width));
  const [left, right] = [draw("left", [width], 0.5), draw("right", [width], 0.5 / Math.sqrt(width))];
  const turn = transform(kind, small);
  const target = new Float64Array(width * width);
  for (let o = 0; o < width; o++) {
    for (let j = 0; j < width; j++) {
      target[o * width + j] = left[o] * right[j];
      for (let i = 0; i < width; i++) target[o * width + j] += weight[o * width + i] * turn(i, j);
    }
  }
  const x = draw("inputs", [count, width], 1);
  const y = new Float32Array(count * width);
  for (let n = 0; n < count; n++) {
    for (let o = 0; o < width; o++) {
      for (let i = 0; i < width; i++) y[n * width + o] += target[o * width + i] * x[n * width + i];
    }
  }
  const shape = [count, width];
  const model = frozenModel(
    { "layer.weight": fromData("float32", weight, [width, width]) },
    { x: { dtype: "float32", shape } },
    (own, inputs) => ({ y: linear(own, "layer", inputs.x) }),
  );
  const data: Dataset = { x: fromData("float32", x, shape), y: fromData("float32", y, shape) };
  return { model, data };
}

const loss: AdapterLoss = (outputs, batch) => {
  const error = sub(outputs.y, batch.y);
  return reduceMean(mul(error, error), [0, 1], false);
};

/** Least squares towards W T + rank one, 16 × 16, by adapters of some rank and by transforms: relative loss. */
export async function run(seeds: readonly number[], steps: number): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    for (const kind of kinds) {
      const { model, data } = problem(seed, kind);
      for (const [name, adapter] of variants) {
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
        const left = (losses.at(-1) as number) / losses[0];
        found.add(name, trained, { [kind]: left, [`${kind}, powers of ten`]: -Math.log10(left) });
      }
    }
  }
  await runtime.close();
  const rows = found.rows();
  // Means of logarithms: a rounded 0.0000 has none.
  const at = (index: number, kind: (typeof kinds)[number]) =>
    meanOf(rows, variants[index][0], `${kind}, powers of ten`);
  return {
    title: "TLoRA: powers of ten by which the loss fell (two Kronecker terms)",
    seeds,
    rows,
    claims: [
      claim(
        "a transform and a LoRA of rank 1 beat a LoRA of twice the numbers a hundredfold",
        at(2, kinds[0]) >= at(1, kinds[0]) + 2,
        {
          "LoRA, r = 4, powers of ten": at(1, kinds[0]),
          "transform of ring rank 1, powers of ten": at(2, kinds[0]),
        },
      ),
      claim(
        "on two terms ring rank 2 needs distinct slices: a hundredfold below the paper's start",
        at(4, kinds[1]) >= at(3, kinds[1]) + 2,
        {
          "paper's start, powers of ten": at(3, kinds[1]),
          "zeroSum, powers of ten": at(4, kinds[1]),
        },
      ),
      claim("the paper's start gains nothing from ring rank 2", Math.abs(at(3, kinds[1]) - at(2, kinds[1])) < 0.05, {
        "ring rank 1, powers of ten": at(2, kinds[1]),
        "ring rank 2, paper's start, powers of ten": at(3, kinds[1]),
      }),
    ],
  };
}
