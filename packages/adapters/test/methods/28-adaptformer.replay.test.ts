import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { evaluateTrace, mul, type Value } from "@loomweight/graph";
import { batchNorm, linearOf } from "@loomweight/graph/nn";
import { fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  type AdaptFormerOptions,
  adaptFormer,
  foldAdaptFormerScale,
  foldHeadBatchNorm,
} from "../../src/methods/adaptformer.ts";
import { adapterRandom } from "../../src/random/adapter-random.ts";
import {
  expectRelative,
  expectStatistics,
  namesBelow,
  numbersOf,
  replayed,
  replayGradients,
  replayTraining,
  tolerance,
  type Values,
} from "../method-replay.ts";
import { vit } from "../vit.ts";

const cases = methodCases("28-adaptformer");

const names = {
  "down_proj.weight": "down",
  "down_proj.bias": "downBias",
  "up_proj.weight": "up",
  "up_proj.bias": "upBias",
  scale: "scale",
  "adapter_layer_norm_before.weight": "normWeight",
  "adapter_layer_norm_before.bias": "normBias",
};

/** The branch's tensors below a path, under the names of the definition. */
function branchParams(recorded: MethodCase, values: Values, path = ""): Record<string, Value> {
  const own = Object.entries(names).filter(([name]) => recorded.tensors.has(`param/${path}${name}`));
  return Object.fromEntries(own.map(([name, ours]) => [ours, values(`param/${path}${name}`)]));
}

function optionsOf(given: Readonly<Record<string, unknown>>): AdaptFormerOptions {
  const layernorm = given.layernorm ?? given.ffn_adapter_layernorm_option ?? "none";
  const scale = given.scale ?? given.ffn_adapter_scalar;
  return {
    bottleneck: Number(given.bottleneck ?? given.ffn_num),
    scale: scale === "learnable_scalar" ? 1 : Number(scale),
    learnableScale: scale === "learnable_scalar",
    placement: given.ffn_option === "sequential" ? "sequential" : "parallel",
    input: layernorm === "in" ? "ownNorm" : "residual",
    outputNorm: layernorm === "out",
    dropout: 0.1,
  };
}

/** The branch alone: a module that gives zero, beside a stream x. */
function branchOf(recorded: MethodCase, values: Values): Value {
  const x = values("in/x");
  const site = {
    path: "block.mlp",
    index: 0,
    in: Number(x.shape.at(-1)),
    out: Number(x.shape.at(-1)),
    input: x,
    output: mul(x, 0),
    residual: x,
    ...(recorded.tensors.has("in/mask") ? { dropout: (hidden: Value) => mul(hidden, values("in/mask")) } : {}),
  };
  return adaptFormer.apply(site, branchParams(recorded, values), optionsOf(recorded.options));
}

function vitOf(recorded: MethodCase, values: Values): Value {
  const { depth, num_heads, global_pool } = recorded.options as Record<string, number>;
  const weights = (name: string) =>
    ["base/", "param/"]
      .map((prefix) => prefix + name)
      .filter((key) => recorded.tensors.has(key))
      .map(values)[0];
  return vit(weights, values("in/x"), {
    depth,
    heads: num_heads,
    globalPool: Boolean(global_pool),
    change: (site) => {
      const block = /^blocks\.(\d+)\.mlp$/.exec(site.path);
      if (block === null) return undefined;
      const width = Number(site.output.shape.at(-1));
      const params = branchParams(recorded, values, `blocks.${block[1]}.adaptmlp.`);
      return adaptFormer.apply(
        { ...site, index: Number(block[1]), in: width, out: width },
        params,
        optionsOf(recorded.options),
      );
    },
  });
}

test("the recorded cases are there", (context) => {
  if (cases.length === 0) context.skip("methods/28-adaptformer is not among these references");
  expect(cases.length).toBeGreaterThan(5);
});

describe.each(cases.filter(({ kind }) => kind === "branch" || kind === "vit"))("$name", (recorded) => {
  const { values } = replayed(recorded);
  const y = recorded.kind === "vit" ? vitOf(recorded, values) : branchOf(recorded, values);
  test("output and gradients", () => {
    replayGradients(recorded, y, recorded.kind === "vit" ? "out/logits" : "out/y");
  });
  test("training", () => {
    replayTraining(recorded, y);
  });
  if (recorded.tensors.has("folded/up_proj.weight")) {
    test("scale folded into up", () => {
      const params = branchParams(recorded, (name) => recorded.tensor(name)) as Record<string, Tensor>;
      const folded = foldAdaptFormerScale(params as never, optionsOf(recorded.options).scale) as unknown as Record<
        string,
        Tensor
      >;
      expectRelative(folded.up, recorded.tensor("folded/up_proj.weight"), tolerance.output, "folded/up_proj.weight");
      expectRelative(folded.upBias, recorded.tensor("folded/up_proj.bias"), tolerance.output, "folded/up_proj.bias");
    });
  }
});

describe.each(cases.filter(({ kind }) => kind === "head"))("$name", (recorded) => {
  const { values, feeds } = replayed(recorded);
  const { epsilon, momentum } = { epsilon: Number(recorded.options.eps), momentum: Number(recorded.options.momentum) };
  const head = (x: Value, mean: Value, variance: Value, training: boolean) => {
    const buffers = { running_mean: mean, running_var: variance };
    const { output, updates } = batchNorm({}, buffers, "", x, { training, epsilon, momentum });
    return { y: linearOf(output, values("param/1.weight"), values("param/1.bias")), updates };
  };
  const start = {
    mean: fromData("float64", new Float64Array(7), [7]),
    variance: fromData("float64", new Float64Array(7).fill(1), [7]),
  };
  const evalHead = () =>
    head(values("in/x"), recorded.tensor("state2/running_mean"), recorded.tensor("state2/running_var"), false).y;
  test("two batches in training move the running statistics", () => {
    const one = head(values("in/x1"), start.mean, start.variance, true);
    const two = head(values("in/x2"), one.updates.running_mean, one.updates.running_var, true);
    const found = evaluateTrace(
      {
        "out/train1": one.y,
        "state1/running_mean": one.updates.running_mean,
        "state1/running_var": one.updates.running_var,
        "out/train2": two.y,
        "state2/running_mean": two.updates.running_mean,
        "state2/running_var": two.updates.running_var,
      },
      feeds,
    );
    for (const [name, tensor] of Object.entries(found))
      expectRelative(tensor, recorded.tensor(name), tolerance.output, name);
  });
  test("inference, gradients and training", () => {
    const y = evalHead();
    replayGradients(recorded, y, "out/eval");
    replayTraining(recorded, y);
  });
  test("BatchNorm folded into the Linear", () => {
    const folded = foldHeadBatchNorm(
      { mean: recorded.tensor("state2/running_mean"), variance: recorded.tensor("state2/running_var"), epsilon },
      { weight: recorded.tensor("param/1.weight"), bias: recorded.tensor("param/1.bias") },
    );
    expectRelative(folded.weight, recorded.tensor("folded/weight"), tolerance.output, "folded/weight");
    expectRelative(folded.bias, recorded.tensor("folded/bias"), tolerance.output, "folded/bias");
  });
});

describe.each(cases.filter(({ kind }) => kind === "init_statistics"))("$name", (recorded) => {
  test("initial tensors follow the recorded laws", () => {
    const given = { ...optionsOf({ scale: "learnable_scalar", layernorm: "in", bottleneck: 8 }) };
    const draws: Record<string, number[]> = {};
    for (let i = 0; i < 200; i++) {
      const site = { path: "m", index: 0, in: 20, out: 20 };
      const made = adaptFormer.init(site, given, { random: adapterRandom(i, "m") });
      for (const [name, ours] of Object.entries(names)) (draws[name] ??= []).push(...numbersOf(made[ours]));
    }
    for (const name of Object.keys(recorded.entry.stats as object)) expectStatistics(recorded, name, draws[name]);
  });
});

test("every recorded tensor is looked at", (context) => {
  if (cases.length === 0) context.skip("methods/28-adaptformer is not among these references");
  const kinds = new Set(cases.map(({ kind }) => kind));
  expect([...kinds].sort()).toEqual(["branch", "head", "init_statistics", "vit"]);
  expect(cases.every((recorded) => recorded.kind !== "branch" || namesBelow(recorded, "grad/").length > 4)).toBe(true);
});
