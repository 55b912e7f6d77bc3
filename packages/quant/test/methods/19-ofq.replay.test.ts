import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { evaluateTrace, gradient, input, mul, reduceSum, relu, reshape, type Value } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { adamw, sgd } from "@loomweight/optim";
import { cast, fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  annealed,
  createOscillationTracker,
  dampeningLoss,
  distillationLoss,
  type LsqOptions,
  lsq,
  lsqScale,
  nearThreshold,
  quantizedLinear,
  statsq,
  statsqParts,
} from "../../src/index.ts";

// The folder's README: codes and masks exactly, the rest within 1e-10 of the magnitude in float64.
function expectNear(found: Tensor, expected: Tensor, what: string, tolerance = 1e-10): void {
  const [a, b] = [toFloat64(found), toFloat64(expected)];
  expect(a.length, what).toBe(b.length);
  const largest = b.reduce((most, each) => Math.max(most, Math.abs(each)), 1e-300);
  for (let i = 0; i < b.length; i++) {
    expect(Math.abs(a[i] - b[i]), `${what}[${i}]: ${a[i]}, ${b[i]}`).toBeLessThanOrEqual(
      tolerance * Math.max(1, largest),
    );
  }
}
const numbers = (tensor: Tensor) => [...toFloat64(tensor)].map((each) => each + 0);
const like = (name: string, { dtype, shape }: Tensor) => input(name, dtype, shape);

/** Σ upstream · y, whose gradients the fixtures hold. */
const probe = (y: Value, upstream: Tensor) => reduceSum(mul(y, upstream), undefined, false);

function replayStatsq({ entry, tensor }: MethodCase): void {
  const W = tensor("W");
  const options = { bits: Number(entry.bits), axis: W.shape.length === 2 ? 0 : W.shape.length - 2 };
  const w = like("W", W);
  const { scale, codes } = statsqParts(w, options);
  const dequantized = statsq(w, options);
  const grad = gradient(probe(dequantized, tensor("grad.dequantized")), w);
  const found = evaluateTrace({ scale, codes, dequantized, grad }, { W });
  expect(numbers(found.codes)).toEqual(numbers(tensor("codes")));
  expectNear(found.scale, tensor("scale"), "scale");
  expectNear(found.dequantized, tensor("dequantized"), "dequantized");
  expectNear(found.grad, tensor("grad.W"), "gradient");
}

const lsqAxes: Readonly<Record<string, number>> = {
  LsqQuantizer: -2,
  LsqQuantizer4v: -1,
  LsqQuantizer_only_headwise: 1,
  LsqQuantizer4img: 1,
  LsqQuantizer4Conv2d: 0,
  LsqQuantizerWeight: 0,
};

function replayLsq({ entry, tensor }: MethodCase): void {
  const shared = entry.per_channel === false || entry.cls === "LsqQuantizer4head_input";
  const options: LsqOptions = {
    bits: Number(entry.bits),
    unsigned: entry.unsigned === true,
    ...(!shared && { axis: lsqAxes[String(entry.cls)] }),
  };
  const [x, scale] = [like("x", tensor("x")), like("scale", tensor("scale"))];
  // The quantizer of images starts unsigned scales like signed ones.
  const first = entry.cls === "LsqQuantizer4img" ? lsqScale(x, options, 2) : lsqScale(x, options);
  const y = lsq(x, scale, options);
  const grads = gradient(probe(y, tensor("grad.y")), { x, scale });
  const feeds = { x: tensor("x"), scale: tensor("scale") };
  const found = evaluateTrace({ first, yInit: lsq(x, first, options), y, ...grads }, feeds);
  expectNear(found.first, tensor("scaleInit"), "first scale");
  expectNear(found.yInit, tensor("yInit"), "y at the first scale");
  expectNear(found.y, tensor("y"), "y");
  expectNear(found.x, tensor("grad.x"), "gradient of x");
  expectNear(found.scale, tensor("grad.scale"), "gradient of the scale");
}

type Values = Readonly<Record<string, Value>>;

function replayLinear({ entry, tensor, tensors }: MethodCase): void {
  const names = [...tensors.keys()].filter((name) => name.startsWith("param."));
  const feeds = Object.fromEntries([...names, "x"].map((name) => [name, tensor(name)]));
  const values = Object.fromEntries(Object.entries(feeds).map(([name, each]) => [name, like(name, each)]));
  const y = quantizedLinear(values, "param", values.x, {
    weights: entry.cls === "QLinear" ? "statsq" : "lsq",
    bits: Number(entry.weightBits),
    activation: { bits: Number(entry.activationBits), unsigned: entry.unsigned === true, axis: -2 },
  });
  const grads = gradient(probe(y, tensor("grad.y")), values);
  const found: Record<string, Tensor> = evaluateTrace(
    { y, ...Object.fromEntries(Object.entries(grads).map(([k, v]) => [`grad.${k}`, v])) },
    feeds,
  );
  expectNear(found.y, tensor("y"), "y");
  for (const name of Object.keys(values))
    expectNear(found[`grad.${name}`], tensor(`grad.${name}`), `gradient of ${name}`);
}

function replayMask({ entry, tensor }: MethodCase): void {
  const W = tensor("W");
  const options = { bits: Number(entry.bits) };
  const boundaryRange = Number(entry.boundaryRange);
  const all = nearThreshold(like("W", W), options, { boundaryRange });
  const occurring = nearThreshold(like("W", W), options, { boundaryRange, thresholds: "occurring" });
  const found = evaluateTrace({ all, occurring }, { W });
  expect(numbers(found.all)).toEqual(numbers(tensor("nearAll")));
  expect(numbers(found.occurring)).toEqual(numbers(tensor("near")));
}

function replayTracker({ entry, tensor, tensors }: MethodCase): void {
  const tracker = createOscillationTracker({
    momentum: Number(entry.momentum),
    freezeThreshold: Number(entry.freezeThreshold),
  });
  for (let step = 0; tensors.has(`step${step}.codes`); step++) {
    const at = (name: string) => tensor(`step${step}.${name}`);
    const { shape } = at("codes");
    const near = (found: Float64Array, name: string) =>
      expectNear(fromFloat64(found, shape), at(name), `${name} ${step}`);
    near(tracker.update(at("codes")), "out");
    near(tracker.frequency, "ema");
    near(tracker.direction, "direction");
    near(tracker.total, "total");
    if (tensors.has(`step${step}.frozen`)) near(Float64Array.from(tracker.frozen), "frozen");
  }
}

function replayDampening({ entry, tensor }: MethodCase): void {
  const values = { W: like("W", tensor("W")), scale: like("scale", tensor("scale")) };
  const loss = dampeningLoss(values.W, values.scale, { bits: Number(entry.bits), axis: 0 });
  const found = evaluateTrace({ loss, ...gradient(loss, values) }, { W: tensor("W"), scale: tensor("scale") });
  expectNear(found.loss, tensor("loss"), "loss");
  expectNear(found.W, tensor("grad.W"), "gradient of W");
  expectNear(found.scale, tensor("grad.scale"), "gradient of the scale");
}

function replayLoss({ tensor }: MethodCase): void {
  const names = ["logits", "label", "teacherLogits"] as const;
  const feeds = Object.fromEntries(names.map((name) => [name, tensor(name)]));
  const { logits, label, teacherLogits } = Object.fromEntries(names.map((name) => [name, like(name, tensor(name))]));
  const loss = distillationLoss(logits, label, teacherLogits);
  const found = evaluateTrace({ loss, grad: gradient(loss, logits) }, feeds);
  expectNear(found.loss, tensor("loss"), "loss");
  expectNear(found.grad, tensor("grad.logits"), "gradient");
}

interface QatEntry {
  readonly weights: "statsq" | "lsq";
  readonly weightBits: number;
  readonly activationBits: number;
  readonly steps: number;
  readonly optimizer: {
    readonly kind: "adamw" | "sgd";
    readonly lr: number;
    readonly weightDecay: number;
    readonly momentum?: number;
  };
  readonly cga: number | null;
  readonly parameters: readonly string[];
}

function replayQat({ entry, tensor, tensors }: MethodCase): void {
  const {
    weights,
    weightBits,
    activationBits,
    steps,
    cga,
    parameters: names,
    optimizer: o,
  } = entry as unknown as QatEntry;
  const plain: Optimizer =
    o.kind === "adamw"
      ? adamw({ weightDecay: o.weightDecay })
      : sgd({ weightDecay: o.weightDecay, momentum: o.momentum ?? 0 });
  const layers = ["l.0", "l.1"];
  const annealing = cga === null ? undefined : { boundaryRange: cga, thresholds: "occurring" as const };
  const optimizer =
    annealing === undefined
      ? plain
      : annealed(plain, {
          ...annealing,
          weights: Object.fromEntries(layers.map((l) => [`${l}.weight`, { bits: weightBits }])),
        });
  let parameters = Object.fromEntries(names.map((name) => [name, tensor(`init.${name}`)]));
  const initial = optimizer.init(parameters);
  let state = Object.fromEntries(
    Object.entries(initial).map(([name, each]) => [name, cast(each, "float64") as Tensor]),
  );
  for (let step = 0; step < steps; step++) {
    const at = (name: string) => tensor(`step${step}.${name}`);
    const scalars = Object.fromEntries(
      Object.entries(optimizer.scalars(step + 1, o.lr)).map(([name, value]) => [
        name,
        fromFloat64(Float64Array.of(value), []),
      ]),
    );
    const data = { x: at("x"), label: at("label"), teacher: at("teacherLogits") };
    const values = (prefix: string, from: Readonly<Record<string, Tensor>>) =>
      Object.fromEntries(Object.entries(from).map(([name, each]) => [name, like(`${prefix}${name}`, each)]));
    const [p, s, c, d] = [values("p:", parameters), values("s:", state), values("c:", scalars), values("d:", data)];
    const activation = { bits: activationBits, axis: -2 };
    const hidden = relu(quantizedLinear(p, layers[0], d.x, { weights, bits: weightBits, activation }));
    const out = quantizedLinear(p, layers[1], hidden, {
      weights,
      bits: weightBits,
      activation: { ...activation, unsigned: true },
    });
    const logits = reshape(out, at("logits").shape);
    const loss = distillationLoss(logits, d.label, d.teacher);
    const gradients = gradient(loss, p);
    const next = optimizer.update({ gradients, parameters: p, state: s, scalars: c, gradientsAt: () => gradients });
    const named = (prefix: string, from: Values) =>
      Object.fromEntries(Object.entries(from).map(([name, each]) => [`${prefix}${name}`, each]));
    const masks =
      annealing === undefined
        ? {}
        : Object.fromEntries(
            layers.map((l) => [`near.${l}.weight`, nearThreshold(p[`${l}.weight`], { bits: weightBits }, annealing)]),
          );
    const found: Record<string, Tensor> = evaluateTrace(
      {
        logits,
        loss,
        ...named("grad.", gradients),
        ...named("new.", next.parameters),
        ...named("state.", next.state),
        ...masks,
      } as Values,
      Object.fromEntries(
        Object.entries({ "p:": parameters, "s:": state, "c:": scalars, "d:": data }).flatMap(([prefix, from]) =>
          Object.entries(from).map(([name, each]) => [`${prefix}${name}`, each]),
        ),
      ),
    );
    expectNear(found.loss, at("loss"), `loss ${step}`);
    expectNear(found.logits, at("logits"), `logits ${step}`);
    for (const name of names) {
      if (tensors.has(`step${step}.grad.${name}`)) {
        expectNear(found[`grad.${name}`], at(`grad.${name}`), `gradient of ${name} ${step}`);
      }
      if (tensors.has(`step${step}.near.${name}`))
        expect(numbers(found[`near.${name}`])).toEqual(numbers(at(`near.${name}`)));
      for (const key of [`step${step}.after.${name}`, `step${step}.param.${name}`, `step${step}.${name}`]) {
        if (tensors.has(key)) expectNear(found[`new.${name}`], tensor(key), `${key}`, 1e-9);
      }
    }
    parameters = Object.fromEntries(names.map((name) => [name, found[`new.${name}`]]));
    state = Object.fromEntries(Object.keys(state).map((name) => [name, found[`state.${name}`]]));
  }
}

const replays: Readonly<Record<string, (recorded: MethodCase) => void>> = {
  statsq: replayStatsq,
  lsq: replayLsq,
  linear: replayLinear,
  "cga-mask": replayMask,
  tracker: replayTracker,
  dampening: replayDampening,
  loss: replayLoss,
  qat: replayQat,
};

describe("oscillation-free quantization, recorded", () => {
  const cases = methodCases("19-ofq");
  if (cases.length === 0) test("recorded cases", (context) => context.skip("the fixtures do not hold this method"));
  for (const each of cases) {
    test(each.name, (context) => {
      const replay = replays[each.kind];
      if (replay === undefined) return context.skip(`cases of kind ${each.kind} are not built`);
      replay(each);
    });
  }
});
