import type { MethodCase } from "@loomweight/fixtures";
import { evaluateTrace, gradient, input, mul, reduceMean, sub, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect } from "vitest";
import type { LayerInGraph } from "../src/define.ts";
import { layerOf } from "../src/layer.ts";

/** Tolerances of the folders' READMEs in float64, relative to the largest entry of the tensor. */
export const tolerance = { output: 1e-12, loss: 1e-11, final: 1e-10 };

/** What a recorded case is built from: trained tensors and inputs as graph inputs, frozen ones as constants. */
export type Values = (name: string) => Value;

export function expectRelative(found: Tensor, expected: Tensor, bound: number, what: string): void {
  const [a, b] = [numbersOf(found), numbersOf(expected)];
  expect([what, a.length]).toEqual([what, b.length]);
  const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  const relative = worst / (largest || 1);
  if (!(relative <= bound)) throw new Error(`${what}: relative difference ${relative} is above ${bound}`);
}

/** Row-major numbers of a tensor, whatever its strides. */
export function numbersOf(tensor: Tensor): number[] {
  const out: number[] = [];
  const walk = (axis: number, offset: number) => {
    if (axis === tensor.shape.length) out.push(Number((tensor.data as Float64Array)[offset]));
    else for (let i = 0; i < tensor.shape[axis]; i++) walk(axis + 1, offset + i * tensor.stride[axis]);
  };
  walk(0, tensor.offset);
  return out;
}

/** Names below a prefix of the case: "param/" → "down.weight", … */
export function namesBelow(recorded: MethodCase, prefix: string): string[] {
  return [...recorded.tensors.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
}

/** Every trained tensor, and every float input, as a graph input with its recorded value; the rest as constants. */
export function recordedValues(recorded: MethodCase): { values: Values; feeds: Record<string, Tensor> } {
  const feeds: Record<string, Tensor> = {};
  const known = new Map<string, Value>();
  for (const [name, tensor] of recorded.tensors) {
    const differentiable = name.startsWith("param/") || (name.startsWith("in/") && tensor.dtype === "float64");
    known.set(name, differentiable ? input(name, tensor.dtype, tensor.shape) : tensor);
    if (differentiable) feeds[name] = tensor;
  }
  const values: Values = (name) => {
    const found = known.get(name);
    if (found === undefined) throw new Error(`${recorded.name} has no ${name}`);
    return found;
  };
  return { values, feeds };
}

/** The recorded output, and L = Σ y · dy differentiated for every tensor that has a recorded gradient. */
export function replayGradients(recorded: MethodCase, y: Value, output: string, prefix = "grad/"): void {
  const { values, feeds } = replayed(recorded);
  const dy = recorded.tensors.get("in/dy"); // absent where y is the loss
  const wanted = Object.fromEntries(
    namesBelow(recorded, prefix).map((name) => [
      name,
      values(recorded.tensors.has(`param/${name}`) ? `param/${name}` : `in/${name}`),
    ]),
  );
  const found = evaluateTrace<string>(
    { "": y, ...gradient(y, wanted, dy === undefined ? {} : { upstream: dy }) },
    feeds,
  );
  expectRelative(found[""], recorded.tensor(output), tolerance.output, output);
  for (const name of Object.keys(wanted)) {
    expectRelative(found[name], recorded.tensor(prefix + name), tolerance.output, prefix + name);
  }
}

const built = new WeakMap<MethodCase, { values: Values; feeds: Record<string, Tensor> }>();
/** The values of a case, made once, so that a graph built from them can be differentiated for them. */
export function replayed(recorded: MethodCase): { values: Values; feeds: Record<string, Tensor> } {
  let found = built.get(recorded);
  if (found === undefined) {
    found = recordedValues(recorded);
    built.set(recorded, found);
  }
  return found;
}

/** Plain SGD from the recorded tensors: every loss and the final tensors. `loss` default: mean((y − target)²). */
export function replayTraining(
  recorded: MethodCase,
  y: Value,
  given?: { loss: Value; rate: number; steps: number },
): void {
  const { values, feeds } = replayed(recorded);
  const settings = recorded.entry.train as { lr: number; steps: number } | undefined;
  const rate = given?.rate ?? settings?.lr ?? Number.NaN;
  const steps = given?.steps ?? settings?.steps ?? 0;
  const loss = given?.loss ?? meanSquare(sub(y, recorded.tensor("train/target")));
  const trained = namesBelow(recorded, "param/");
  const gradients = gradient(loss, Object.fromEntries(trained.map((name) => [name, values(`param/${name}`)])));
  const state = { ...feeds };
  const losses: number[] = [];
  for (let step = 0; step <= steps; step++) {
    const found = evaluateTrace<string>(step < steps ? { "": loss, ...gradients } : { "": loss }, state);
    losses.push(numbersOf(found[""])[0]);
    if (step === steps) break;
    for (const name of trained) {
      const [value, slope] = [numbersOf(state[`param/${name}`]), numbersOf(found[name])];
      const moved = Float64Array.from(value, (each, i) => each - rate * slope[i]);
      state[`param/${name}`] = fromData("float64", moved, feeds[`param/${name}`].shape);
    }
  }
  const recordedLosses = recorded.tensor("train/losses");
  expectRelative(
    fromData("float64", Float64Array.from(losses), [losses.length]),
    recordedLosses,
    tolerance.loss,
    "losses",
  );
  for (const name of namesBelow(recorded, "train/final/")) {
    const final = recorded.tensor(`train/final/${name}`);
    expectRelative(state[`param/${name}`], final, tolerance.final, `train/final/${name}`);
  }
}

function meanSquare(error: Value): Value {
  return reduceMean(mul(error, error), undefined, false);
}

/** Statistics of many draws of an initialiser against recorded ones: the law's bounds, mean and deviation. */
export function expectStatistics(recorded: MethodCase, name: string, draws: readonly number[]): void {
  const stats = (recorded.entry.stats as Record<string, Record<string, number>>)[name];
  const mean = draws.reduce((sum, value) => sum + value, 0) / draws.length;
  const deviation = Math.sqrt(draws.reduce((sum, value) => sum + (value - mean) ** 2, 0) / draws.length);
  const noise = (stats.std * 5) / Math.sqrt(Math.min(draws.length, stats.count));
  expect([name, Math.abs(mean - stats.mean) <= 2 * noise]).toEqual([name, true]);
  expect([name, Math.abs(deviation - stats.std) <= noise]).toEqual([name, true]);
  const widest = Math.max(...draws.map(Math.abs));
  const recordedWidest = Math.max(Math.abs(stats.min), Math.abs(stats.max));
  // Uniform laws end at a bound that many draws come near; a normal law's widest draw scatters more.
  const uniform = recordedWidest < 1.8 * stats.std;
  expect([name, Math.abs(widest - recordedWidest) <= (uniform ? 0.02 : 0.5) * recordedWidest]).toEqual([name, true]);
}

/** A linear layer [out, in] as values, for the methods of layers. */
export function linearLayer(weight: Value, bias?: Value): LayerInGraph {
  return {
    ...layerOf("linear", weight.shape as number[]),
    weight,
    base: weight,
    bias,
    storedWeight: weight,
    forward: (x) => linearOf(x, weight, bias),
    operation: (x, own) => linearOf(x, own),
    perOutput: (vector) => vector,
  };
}
