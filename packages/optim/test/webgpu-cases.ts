import type { Runtime } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { toFloat64 } from "@loomweight/tensor";
import { chain, clipByGlobalNorm, ema, groups, isMatrix, lookahead, optimizers, swa } from "../src/index.ts";
import type { Tensors } from "./run.ts";
import { runInRuntime } from "./runtime-run.ts";
import { wave } from "./wave.ts";

/** Parameters after a few steps of every optimizer in a runtime, as lists of numbers by the optimizer's name. */
export async function runAllOptimizers(runtime: Runtime): Promise<Record<string, number[]>> {
  const cases: [string, Optimizer, number][] = optimizers.map((method) => [
    method.name,
    // Muon takes matrices only.
    method.name === "muon" ? groups([{ parameters: isMatrix, optimizer: method() }], optimizers[0]()) : method(),
    method.learningRate,
  ]);
  const averaged = [ema({ decay: 0.9 }), swa(), lookahead({ every: 2 })];
  for (const part of averaged) {
    cases.push([part.name, chain(clipByGlobalNorm(1), optimizers[0](), part), optimizers[0].learningRate]);
  }
  const initial: Tensors = { weight: wave([5, 4], 1, "float32"), bias: wave([5], 2, "float32") };
  const gradients = Array.from(
    { length: 3 },
    (_, t): Tensors => ({
      weight: wave([5, 4], t + 3, "float32"),
      bias: wave([5], t + 4, "float32"),
    }),
  );
  const results: Record<string, number[]> = {};
  for (const [name, optimizer, learningRate] of cases) {
    const { parameters, state } = await runInRuntime(runtime, optimizer, initial, gradients, learningRate);
    results[name] = [...Object.values(parameters), ...Object.values(state)].flatMap((each) => [...toFloat64(each)]);
  }
  return results;
}
