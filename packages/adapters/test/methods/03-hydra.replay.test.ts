import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { add, gelu, matMul, mul, reshape, softmax, split, transpose, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import type { Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import type { LayerInGraph } from "../../src/define.ts";
import { layerOf } from "../../src/layer.ts";
import { normOf } from "../../src/maths/bottleneck.ts";
import {
  type HydraOptions,
  type HydraParams,
  hydra,
  hydraForward,
  hydraFromPublished,
  mergeHydra,
} from "../../src/methods/hydra.ts";
import { adapterRandom } from "../../src/random/adapter-random.ts";
import {
  expectRelative,
  expectStatistics,
  linearLayer,
  namesBelow,
  numbersOf,
  replayed,
  replayGradients,
  replayTraining,
  tolerance,
  type Values,
} from "../method-replay.ts";

const cases = methodCases("03-hydra");

const suffixes: Readonly<Record<string, string>> = {
  "down_proj.weight": "Down",
  "down_proj.bias": "DownBias",
  "up_proj.weight": "Up",
  "up_proj.bias": "UpBias",
  scale: "Scale",
  "hydra_A.weight": "Down",
  "hydra_B.weight": "Up",
};

/** The layer's two branches below a path, under the names of the definition. */
function paramsOf(recorded: MethodCase, values: Values, par: string, seq: string): HydraParams {
  const found: Record<string, Value> = {};
  for (const [branch, path] of [
    ["par", par],
    ["seq", seq],
  ]) {
    for (const [suffix, name] of Object.entries(suffixes)) {
      if (recorded.tensors.has(`param/${path}.${suffix}`)) found[branch + name] = values(`param/${path}.${suffix}`);
    }
  }
  return found;
}

function optionsOf(given: Readonly<Record<string, unknown>>): HydraOptions {
  return {
    parallelRank: Number(given.rPar),
    sequentialRank: Number(given.rSeq),
    scale: typeof given.scale === "number" ? given.scale : 1,
    learnableScale: typeof given.scale === "string",
    branchBias: given.branchBias !== false,
    init: "xavier",
    dropout: Number(given.dropout ?? 0),
  };
}

function layerOfCase(recorded: MethodCase, values: Values, path: string): LayerInGraph {
  const weight = values(`base/${path}weight`);
  const bias = recorded.tensors.has(`base/${path}bias`) ? values(`base/${path}bias`) : undefined;
  return linearLayer(weight, bias);
}

/** Places of a case: path of the layer's tensors, and of its two branches. */
function placesOf(recorded: MethodCase): { layer: string; par: string; seq: string; merged: string }[] {
  if (recorded.kind !== "vit_block") return [{ layer: "", par: "par", seq: "seq", merged: "" }];
  return [
    { layer: "attn.proj.", par: "attn.hydra_proj_par", seq: "attn.hydra_proj_seq", merged: "attn.proj." },
    { layer: "mlp.fc2.", par: "mlp.hydra_mlp_par", seq: "mlp.hydra_mlp_seq", merged: "mlp.fc2." },
  ];
}

function outputOf(recorded: MethodCase, values: Values): Value {
  const given = optionsOf(recorded.options);
  const masked = (hidden: Value, branch: string) =>
    recorded.tensors.has(`in/mask_${branch}`) ? mul(hidden, values(`in/mask_${branch}`)) : hidden;
  const adapted = (place: number, x: Value) => {
    const { layer, par, seq } = placesOf(recorded)[place];
    return hydraForward(layerOfCase(recorded, values, layer), paramsOf(recorded, values, par, seq), x, given, masked);
  };
  const x = values("in/x");
  if (recorded.kind === "linear") return adapted(0, x);
  const norm = (value: Value, name: string, epsilon: number) =>
    normOf(value, values(`base/${name}.weight`), values(`base/${name}.bias`), epsilon);
  const epsilon = Number(recorded.options.layerNormEps);
  if (recorded.kind === "output_layer") return norm(add(adapted(0, x), values("in/residual")), "layernorm", epsilon);
  const linear = (value: Value, name: string) =>
    linearOf(value, values(`base/${name}.weight`), values(`base/${name}.bias`));
  const [batch, tokens, width] = x.shape.map(Number);
  const heads = Number(recorded.options.heads);
  const toHeads = (value: Value) => transpose(reshape(value, [batch, tokens, heads, width / heads]), [0, 2, 1, 3]);
  const [q, k, v] = split(linear(norm(x, "norm1", epsilon), "attn.qkv"), [width, width, width], -1).map(toHeads);
  const scores = mul(matMul(q, transpose(k, [0, 1, 3, 2])), 1 / Math.sqrt(width / heads));
  const mixed = reshape(transpose(matMul(softmax(scores), v), [0, 2, 1, 3]), [batch, tokens, width]);
  const middle = add(x, adapted(0, mixed));
  return add(middle, adapted(1, gelu(linear(norm(middle, "norm2", epsilon), "mlp.fc1"))));
}

test("the recorded cases are there", (context) => {
  if (cases.length === 0) context.skip("methods/03-hydra is not among these references");
  expect([...new Set(cases.map(({ kind }) => kind))].sort()).toEqual([
    "init_statistics",
    "linear",
    "output_layer",
    "vit_block",
  ]);
});

describe.each(cases.filter(({ kind }) => kind !== "init_statistics"))("$name", (recorded) => {
  const { values } = replayed(recorded);
  const y = outputOf(recorded, values);
  test("output and gradients", () => {
    replayGradients(recorded, y, "out/y");
  });
  test("training", () => {
    replayTraining(recorded, y);
  });
  if (namesBelow(recorded, "merged/").length > 0) {
    test("merged weights", () => {
      const get: Values = (name) => recorded.tensor(name);
      for (const { layer, par, seq, merged } of placesOf(recorded)) {
        const base = layerOfCase(recorded, get, layer);
        const found = mergeHydra(
          { weight: base.weight as Tensor, bias: base.bias as Tensor | undefined },
          paramsOf(recorded, get, par, seq) as HydraParams<Tensor>,
          optionsOf(recorded.options),
        );
        expectRelative(
          found.weight,
          recorded.tensor(`merged/${merged}weight`),
          tolerance.output,
          `merged/${merged}weight`,
        );
        expectRelative(
          found.bias as Tensor,
          recorded.tensor(`merged/${merged}bias`),
          tolerance.output,
          `merged/${merged}bias`,
        );
      }
    });
  }
  if (recorded.kind === "vit_block") {
    test("the published names are read", () => {
      const own = namesBelow(recorded, "param/").map(
        (name) => [`blocks.0.${name}`, recorded.tensor(`param/${name}`)] as const,
      );
      const found = hydraFromPublished(new Map(own));
      expect([...found.keys()].sort()).toEqual(["blocks.0.attn.proj", "blocks.0.mlp.fc2"]);
      expect([...found.values()].reduce((count, params) => count + Object.keys(params).length, 0)).toBe(own.length);
    });
  }
});

describe.each(cases.filter(({ kind }) => kind === "init_statistics"))("$name", (recorded) => {
  test("initial tensors follow the recorded laws", () => {
    const init = { init_vtab: "xavier", init_elevater_lora: "normal" }[recorded.name] ?? "kaiming";
    const given = { ...optionsOf({ rPar: 4, rSeq: 0, scale: 1 }), init: init as HydraOptions["init"] };
    const draws: Record<string, number[]> = {};
    for (let i = 0; i < 200; i++) {
      const made = hydra.init(layerOf("linear", [18, 18]), given, { random: adapterRandom(i, "m") });
      for (const [suffix, name] of Object.entries(suffixes)) {
        if (made[`par${name}`] !== undefined) (draws[suffix] ??= []).push(...numbersOf(made[`par${name}`]));
      }
    }
    for (const name of Object.keys(recorded.entry.stats as object)) expectStatistics(recorded, name, draws[name]);
  });
});
