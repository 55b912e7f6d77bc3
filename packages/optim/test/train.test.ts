import { matMul, mul, type Runtime, reduceMean, sub } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import type { Optimizer } from "@loomweight/graph/training";
import { train } from "@loomweight/graph/training";
import { createRandom, expectClose, fromData, normal, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  adamw,
  bfloat16State,
  chain,
  clipByGlobalNorm,
  cosineSchedule,
  ema,
  groups,
  isMatrix,
  lookahead,
  muon,
  sam,
  scheduleFreeAdamw,
  warmup,
} from "../src/index.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 });
});
afterAll(() => runtime.close());

const random = createRandom(5, "regression");
const x = normal([64, 6], random.child("x"), { deviation: 1 });
const truth = normal([6, 3], random.child("truth"), { deviation: 1 });
const y = fromData("float32", Float32Array.from(toFloat64(matMul(x, truth))), [64, 3]);

const trainWith = (
  optimizer: Optimizer,
  options: { learningRate?: number; resume?: Uint8Array; steps?: number } = {},
) =>
  train({
    runtime,
    parameters: { weight: tensor(new Float64Array(18), [6, 3]), bias: tensor([0, 0, 0]) },
    loss: (p, batch) => {
      const error = sub(matMul(batch.x, p.weight), sub(batch.y, p.bias));
      return reduceMean(mul(error, error), undefined, false);
    },
    optimizer,
    learningRate: warmup(cosineSchedule({ rate: options.learningRate ?? 0.1, steps: 140 }), { steps: 10 }),
    batches: () => repeated(),
    steps: options.steps ?? 150,
    resume: options.resume,
    evaluation: {
      batches: () => [{ x, y }],
      average: true,
      metrics: (p, batch) => {
        const error = sub(matMul(batch.x, p.weight), sub(batch.y, p.bias));
        return { loss: reduceMean(mul(error, error), undefined, false) };
      },
    },
  });

function* repeated(): Iterable<Record<string, Tensor>> {
  for (;;) yield { x, y };
}

const optimizers: readonly [string, Optimizer, number][] = [
  [
    "a chain of clipping, AdamW, lookahead and averages",
    chain(clipByGlobalNorm(1), adamw({ weightDecay: 0 }), lookahead(), ema({ decay: 0.8 })),
    0.1,
  ],
  [
    "Muon for matrices, SAM around AdamW for vectors",
    chain(
      groups([{ parameters: isMatrix, optimizer: muon({ weightDecay: 0 }) }], sam(adamw({ weightDecay: 0 }))),
      ema({ decay: 0.5 }),
    ),
    0.1,
  ],
  ["schedule-free AdamW, evaluated at its average", scheduleFreeAdamw(), 0.1],
  ["bfloat16 state", chain(bfloat16State(adamw({ weightDecay: 0 })), ema({ decay: 0.5 })), 0.1],
];

test.each(optimizers)("a regression is solved by %s", async (_, optimizer, learningRate) => {
  const training = await trainWith(optimizer, { learningRate });
  const last = await training.finish();
  expect(last?.loss).toBeLessThan(2e-2);
  const { loss } = await training.evaluate();
  expect(loss).toBeLessThan(2e-2);
  const averaged = await training.parameters({ average: true });
  expectClose(averaged.weight, truth, 0.1);
  await training.close();
});

test("bfloat16 state goes on from a saved training, bit for bit", async () => {
  const make = () => chain(bfloat16State(adamw(), { seed: 9 }), ema({ decay: 0.9 }));
  const whole = await trainWith(make(), { steps: 6 });
  await whole.finish();
  const first = await trainWith(make(), { steps: 3 });
  await first.finish();
  const rest = await trainWith(make(), { steps: 6, resume: await first.save() });
  await rest.finish();
  expect(await rest.parameters()).toEqual(await whole.parameters());
  expect(await rest.parameters({ average: true })).toEqual(await whole.parameters({ average: true }));
  for (const each of [whole, first, rest]) await each.close();
});
