import { type MethodCase, methodCases } from "@loomweight/fixtures";
import {
  add,
  evaluateTrace,
  gatherElements,
  log,
  mul,
  neg,
  reduceMean,
  reshape,
  softmax,
  type Value,
} from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import type { Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type Activation, activate } from "../../src/maths/bottleneck.ts";
import {
  foldGains,
  gatePenalty,
  neuronContributions,
  participation,
  softGate,
  type TauGateOptions,
  tauGate,
} from "../../src/methods/taugate.ts";
import {
  expectRelative,
  namesBelow,
  replayed,
  replayGradients,
  replayTraining,
  tolerance,
  type Values,
} from "../method-replay.ts";

const cases = methodCases("42-dopamine");
const optionsOf = (recorded: MethodCase, more: Partial<TauGateOptions> = {}): TauGateOptions => ({
  sharpness: Number(recorded.options.sharpness),
  hard: false,
  straightThrough: false,
  gain: "free",
  init: "match",
  ...more,
});

const gated = (recorded: MethodCase, z: Value, tau: Value, gamma: Value, more: Partial<TauGateOptions>) => {
  const size = Number(z.shape.at(-1));
  const output = activate(z, recorded.options.activation as Activation);
  return tauGate.apply(
    { path: "act", index: 0, in: size, out: size, input: z, output },
    { tau, gamma },
    optionsOf(recorded, more),
  );
};

/** The MLP with every hidden layer gated; "base": no gates. */
function mlpOf(recorded: MethodCase, values: Values, mode: "soft" | "hard" | "base") {
  const layers = (recorded.options.dims as number[]).length - 1;
  const [gates, zs, hidden]: Value[][] = [[], [], []];
  let h = values("in/x");
  for (let l = 0; l < layers; l++) {
    const z = linearOf(h, values(`base/weight.${l}`), values(`base/bias.${l}`));
    if (l === layers - 1) return { logits: z, gates, zs, hidden };
    const [tau, gamma] = [values(`param/tau.${l}`), values(`param/gamma.${l}`)];
    zs.push(z);
    gates.push(softGate(z, tau, Number(recorded.options.sharpness)));
    h =
      mode === "base"
        ? activate(z, recorded.options.activation as Activation)
        : gated(recorded, z, tau, gamma, { hard: mode === "hard" });
    hidden.push(h);
  }
  throw new Error(`${recorded.name} has no layers`);
}

const crossEntropyOf = (logits: Value, labels: Value) =>
  reduceMean(
    neg(log(gatherElements(softmax(logits), reshape(labels, [Number(labels.shape[0]), 1]), 1))),
    undefined,
    false,
  );

test("the recorded cases are there", (context) => {
  if (cases.length === 0) context.skip("methods/42-dopamine is not among these references");
  expect([...new Set(cases.map(({ kind }) => kind))].sort()).toEqual(["gate", "mlp"]);
});

describe.each(cases.filter(({ kind }) => kind === "gate"))("$name", (recorded) => {
  const { values, feeds } = replayed(recorded);
  const of = (more: Partial<TauGateOptions>) =>
    gated(recorded, values("in/z"), values("param/tau"), values("param/gamma"), more);
  test("soft: output, gradients, training", () => {
    replayGradients(recorded, of({}), "out/y");
    replayTraining(recorded, of({}));
  });
  test("straight through: output and gradients", () => {
    replayGradients(recorded, of({ straightThrough: true }), "out/straight_through", "grad_straight_through/");
  });
  test("hard gate and the gate itself", () => {
    const gate = softGate(values("in/z"), values("param/tau"), Number(recorded.options.sharpness));
    const found = evaluateTrace({ hard: of({ hard: true }), gate }, feeds);
    expectRelative(found.hard, recorded.tensor("out/hard"), tolerance.output, "out/hard");
    expectRelative(found.gate, recorded.tensor("out/gate"), tolerance.output, "out/gate");
  });
});

describe.each(cases.filter(({ kind }) => kind === "mlp"))("$name", (recorded) => {
  const { values, feeds } = replayed(recorded);
  const soft = mlpOf(recorded, values, "soft");
  const hard = mlpOf(recorded, values, "hard");
  const crossEntropy = crossEntropyOf(soft.logits, recorded.tensor("in/labels"));
  const penalty = gatePenalty(soft.gates);
  const loss = add(crossEntropy, mul(penalty, Number(recorded.options.lambda)));
  test("every recorded output", () => {
    const outputs: Record<string, Value> = {
      "out/loss": loss,
      "out/cross_entropy": crossEntropy,
      "out/penalty": penalty,
      "out/logits": soft.logits,
      "out/logits_frozen_base": mlpOf(recorded, values, "base").logits,
      "out/logits_hard": hard.logits,
    };
    const last = soft.gates.length;
    for (let l = 0; l < last; l++) {
      outputs[`out/gate.${l}`] = soft.gates[l];
      outputs[`out/z.${l}`] = soft.zs[l];
      outputs[`out/hidden.${l}`] = soft.hidden[l];
      outputs[`out/participation_hard.${l}`] = participation(hard.zs[l], values(`param/tau.${l}`));
      outputs[`folded/weight.${l + 1}`] = foldGains(values(`base/weight.${l + 1}`), values(`param/gamma.${l}`));
    }
    outputs["out/contributions_last_hidden"] = neuronContributions(
      hard.hidden[last - 1],
      values(`base/weight.${last}`),
    );
    const found = evaluateTrace(outputs, feeds);
    const recordedNames = [
      ...namesBelow(recorded, "out/").map((name) => `out/${name}`),
      ...namesBelow(recorded, "folded/").map((name) => `folded/${name}`),
    ];
    expect(Object.keys(found).sort()).toEqual(recordedNames.sort());
    for (const [name, tensor] of Object.entries(found))
      expectRelative(tensor, recorded.tensor(name), tolerance.output, name);
  });
  test("gradients and training", () => {
    replayGradients(recorded, loss, "out/loss");
    replayTraining(recorded, loss, { loss, rate: Number(recorded.options.lr), steps: Number(recorded.options.steps) });
  });
  test("gains folded into the next layer give the hard logits", () => {
    const get: Values = (name) => recorded.tensor(name);
    let h = get("in/x");
    const last = soft.gates.length;
    for (let l = 0; l <= last; l++) {
      const z = linearOf(h, l === 0 ? get("base/weight.0") : get(`folded/weight.${l}`), get(`base/bias.${l}`));
      if (l === last)
        expectRelative(z as Tensor, recorded.tensor("out/logits_hard"), tolerance.output, "folded logits");
      else h = gated(recorded, z, get(`param/tau.${l}`), add(mul(get(`param/gamma.${l}`), 0), 1), { hard: true });
    }
  });
});
