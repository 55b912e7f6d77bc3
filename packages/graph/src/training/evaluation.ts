import { LoomweightError } from "@loomweight/tensor";
import { input } from "../inputs.ts";
import { cast } from "../ops/logic.ts";
import { reshape } from "../ops/shape.ts";
import type { Program, Runtime, State } from "../runtime/runtime.ts";
import type { Value } from "../value.ts";
import { batchReader, rowsOf, shapeKey, typesOf } from "./batches.ts";
import { type Batch, stateValues, type Types } from "./loss.ts";
import { averagePrefix, optimizerPrefix, type StepDesign } from "./step-graph.ts";

/** How a training is measured. */
export interface Evaluation {
  /** Called anew for every evaluation. */
  readonly batches: () => Iterable<Batch> | AsyncIterable<Batch>;
  /** Scalars, each the mean over its batch; what is reported is the mean over all rows. */
  readonly metrics: (
    parameters: Readonly<Record<string, Value>>,
    batch: Readonly<Record<string, Value>>,
    context: { readonly buffers: Readonly<Record<string, Value>> },
  ) => Readonly<Record<string, Value>>;
  /** Steps from one evaluation to the next; default only when asked for. */
  readonly every?: number;
  /** Measure the moving average, or what the optimizer itself averages, instead of the parameters. Default false. */
  readonly average?: boolean;
}

/** Measures a state as often as wanted; programs are loaded once per shape of batch. */
export interface Evaluator {
  /** Means of the metrics over all rows of the batches, on the state as it is. */
  evaluate(): Promise<Record<string, number>>;
  close(): Promise<void>;
}

export function createEvaluator(runtime: Runtime, state: State, design: StepDesign, evaluation: Evaluation): Evaluator {
  const loaded = new Map<string, Promise<Program>>();
  const programFor = (types: Types) => {
    const key = shapeKey(types);
    let program = loaded.get(key);
    if (program === undefined) {
      program = runtime.compile(evaluationProgram(design, evaluation, types), state);
      loaded.set(key, program);
    }
    return program;
  };
  return {
    async evaluate() {
      const sums: Record<string, number> = {};
      let rows = 0;
      const reader = batchReader(evaluation.batches, 0);
      for (let batch = await reader.next(); batch !== undefined; batch = await reader.next()) {
        const program = await programFor(typesOf(batch));
        const weight = rowsOf(batch);
        rows += weight;
        for (const [name, { data }] of Object.entries(await program.run(batch))) {
          sums[name] = (sums[name] ?? 0) + Number(data[0]) * weight;
        }
      }
      return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / rows]));
    },
    async close() {
      for (const each of loaded.values()) await (await each.catch(() => undefined))?.close();
    },
  };
}

function measuredParameters(design: StepDesign, average: boolean): Readonly<Record<string, Value>> {
  const { trainable, optimizer, averageDecay } = design;
  if (!average) return stateValues(trainable);
  if (averageDecay !== undefined || optimizer.averaged === undefined) return stateValues(trainable, averagePrefix);
  const state = stateValues(design.optimizerState, optimizerPrefix);
  return optimizer.averaged({ parameters: stateValues(trainable), state });
}

function evaluationProgram(design: StepDesign, { metrics, average = false }: Evaluation, types: Types) {
  const frozen = Object.entries(stateValues(design.frozen)).map(
    ([name, value]) => [name, value.dtype === "float32" ? value : cast(value, "float32")] as const,
  );
  const parameters = { ...Object.fromEntries(frozen), ...measuredParameters(design, average) };
  const inputs = Object.fromEntries(
    Object.entries(types).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
  );
  const measured = metrics(parameters, inputs, { buffers: stateValues(design.buffers) });
  const outputs = Object.fromEntries(
    Object.entries(measured).map(([name, value]) => {
      if (!value.shape.every((dim) => dim === 1)) {
        throw new LoomweightError({
          code: "INVALID_LOSS",
          problem: `the metric "${name}" is no single number`,
          expected: "shape []",
          found: `[${value.shape}]`,
          fix: "Take its mean.",
        });
      }
      return [name, value.shape.length === 0 ? value : reshape(value, [])];
    }),
  );
  return { name: "evaluate", inputs, outputs };
}
