import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { add, div, exp, matMul, mul, reduceMax, reduceSum, sub, transpose, type Value } from "@loomweight/graph";
import { cast, expectClose, fromData, type Tensor, toFloat64, zeros } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  acceptedFraction,
  accumulateFisher,
  averageGradSum,
  classp,
  ewc,
  ewcPenalty,
  onlineFisher,
  sgd,
} from "../../src/index.ts";
import { type RecordedOptions, rowOf } from "../recorded.ts";
import { stepOnTensors, type Tensors } from "../run.ts";

const cases = methodCases<RecordedOptions>("09-classp");

function optimizerOf(options: RecordedOptions, dtype: string) {
  // The reference leaks the first group's values into every other group: they are the values of all.
  const { compat, threshold, epsilon, power, apply_scaling } = { ...options, ...options.groups?.[0] };
  // A threshold is compared in float32 there; the same number here.
  const rounded = dtype === "float32" ? Math.fround(threshold) : threshold;
  return classp({
    threshold: rounded,
    epsilon,
    power,
    scaled: apply_scaling,
    variant: compat === "paper" ? "paper" : "reference-code",
  });
}

/** Relative to the largest magnitude, at least 1. */
function expectWithin(found: Tensor, expected: Tensor, tolerance: number): void {
  expectClose(cast(found, expected.dtype), expected, tolerance);
}

function replayRun({ options, tensors, tensor }: MethodCase<RecordedOptions>): void {
  const names = [...tensors.keys()].flatMap((key) => (key.startsWith("initial/") ? [key.slice(8)] : []));
  const initial: Tensors = Object.fromEntries(names.map((name) => [name, tensor(`initial/${name}`)]));
  const dtype = initial[names[0]].dtype as "float32" | "float64";
  const tolerance = dtype === "float64" ? 1e-12 : 1e-6;
  const first = optimizerOf(options, dtype);
  const second = options.switch ? optimizerOf({ ...options, ...options.switch.set }, dtype) : first;
  const learningRate = options.groups?.[0].lr ?? options.lr;
  let at: { parameters: Tensors; state: Tensors } = { parameters: initial, state: { ...first.init(initial) } };
  for (let step = 1; step <= 50; step++) {
    const switched = options.switch && step > options.switch.at;
    const gradients = Object.fromEntries(
      names.map((name) => [name, rowOf(tensor(`gradients/${name}`), step - 1, dtype)]),
    );
    const before = at;
    at = stepOnTensors(switched ? second : first, at, gradients, { step, learningRate });
    for (const name of names) {
      const parameter = tensors.get(`step${step}/param/${name}`);
      if (parameter) expectWithin(at.parameters[name], parameter, tolerance);
      const sum = tensors.get(`step${step}/grad_sum/${name}`);
      if (sum) expectWithin(at.state[`grad_sum/${name}`], sum, tolerance);
      const keep = tensors.get(`step${step}/keep/${name}`);
      if (keep) {
        const moved = toFloat64(at.state[`grad_sum/${name}`]).map((value, i) =>
          value === toFloat64(before.state[`grad_sum/${name}`])[i] ? 0 : 1,
        );
        expect([...moved]).toEqual([...toFloat64(keep)]);
      }
    }
    const average = tensors.get("average_grad_sum");
    if (average)
      expect(averageGradSum(at.state)).toBeCloseTo(toFloat64(average)[step - 1], dtype === "float64" ? 11 : 5);
    const accepted = tensors.get("accepted_fraction");
    if (accepted) {
      const share = acceptedFraction(gradients, options.threshold) as Tensor;
      expect(toFloat64(share)[0]).toBeCloseTo(toFloat64(accepted)[step - 1], 12);
    }
  }
}

/** Softmax of x Wᵀ + b, rows of samples. */
function probabilities(x: Value, { weight, bias }: Readonly<Record<string, Value>>): Value {
  const logits = add(matMul(x, transpose(weight, [1, 0])), bias);
  const powers = exp(sub(logits, reduceMax(logits, [1])));
  return div(powers, reduceSum(powers, [1]));
}

/** Gradient of the mean negative log-likelihood of `labels` over the rows of x. */
function gradientOf(x: Tensor, labels: readonly number[], parameters: Readonly<Record<string, Value>>): Tensors {
  const classes = parameters.bias.shape[0] as number;
  const truth = Float64Array.from({ length: labels.length * classes }, (_, i) =>
    labels[Math.floor(i / classes)] === i % classes ? 1 : 0,
  );
  const error = sub(probabilities(x, parameters), fromData("float64", truth, [labels.length, classes]));
  const slope = mul(error, 1 / labels.length) as Tensor;
  return { weight: matMul(transpose(slope, [1, 0]), x), bias: reduceSum(slope, [0], false) };
}

function rowsOf(x: Tensor, from: number, count: number): Tensor {
  const width = x.shape[1];
  return fromData("float64", toFloat64(x).slice(from * width, (from + count) * width), [count, width]);
}

function replayEwc({ options, tensor }: MethodCase<RecordedOptions>): void {
  const of = (prefix: string): Tensors => ({ weight: tensor(`${prefix}/weight`), bias: tensor(`${prefix}/bias`) });
  const expectAll = (found: Readonly<Record<string, Value>>, prefix: string) => {
    for (const [name, expected] of Object.entries(of(prefix))) expectClose(found[name] as Tensor, expected, 1e-12);
  };
  const [x, anchor] = [tensor("x"), of("anchor")];
  const labels = [...toFloat64(cast(tensor("labels"), "float64"))];
  const samples = labels.length;
  const none = (): Record<string, Value> =>
    Object.fromEntries(Object.entries(anchor).map(([name, { shape }]) => [name, zeros(shape, "float64")]));

  let empirical = none();
  let model = none();
  const chances = toFloat64(probabilities(x, anchor) as Tensor);
  const classes = anchor.bias.shape[0];
  for (let i = 0; i < samples; i++) {
    const row = rowsOf(x, i, 1);
    empirical = accumulateFisher(empirical, gradientOf(row, [labels[i]], anchor), 1 / samples);
    for (let label = 0; label < classes; label++) {
      model = accumulateFisher(model, gradientOf(row, [label], anchor), chances[i * classes + label] / samples);
    }
  }
  expectAll(empirical, "fisher_empirical");
  expectAll(model, "fisher_model");
  expectAll(onlineFisher(of(options.online.old), of(options.online.new), options.online.gamma), "online_fisher");

  // The authors' script: squared gradients of mini-batches while training goes on, over the number of samples.
  const { batch, lr } = options.author_fisher;
  const training = sgd();
  let [at, moving] = [{ parameters: anchor, state: {} as Tensors }, none()];
  for (let from = 0; from < samples; from += batch) {
    const gradients = gradientOf(rowsOf(x, from, batch), labels.slice(from, from + batch), at.parameters);
    moving = accumulateFisher(moving, gradients, 1 / samples);
    at = stepOnTensors(training, at, gradients, { step: from / batch + 1, learningRate: lr });
  }
  expectAll(moving, "author_fisher");

  const theta = of("theta");
  const task = { anchor, fisher: of("fisher_empirical") };
  expectClose(ewcPenalty(theta, [task], options.lambda_card) as Tensor, tensor("author_penalty"), 1e-12);
  const springs = ewc([task], { lambda: options.lambda_card });
  const pulled = springs.transform({
    gradients: Object.fromEntries(Object.entries(theta).map(([name, { shape }]) => [name, zeros(shape, "float64")])),
    parameters: theta,
    state: { ...springs.init?.(theta) },
    scalars: {},
    gradientsAt: () => ({}),
  });
  expectAll(pulled.gradients, "author_gradient");
}

describe("09-classp", () => {
  if (cases.length === 0) test("recorded cases", (context) => context.skip("fixtures/methods/09-classp is absent"));
  test.each(cases)("$name", (recorded) => {
    if (recorded.name.startsWith("ewc")) replayEwc(recorded);
    else replayRun(recorded);
  });
});
