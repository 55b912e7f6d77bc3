import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { evaluateTrace, gradient, type Value } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import type { LayerInGraph } from "../../src/define.ts";
import { identityPenalty, orthogonalPenalty, ringMatrix, ringTransform } from "../../src/maths/tensor-ring.ts";
import { type TloraOptions, tlora } from "../../src/methods/tlora.ts";
import {
  expectRelative,
  linearLayer,
  namesBelow,
  replayed,
  replayGradients,
  replayTraining,
  tolerance,
  type Values,
} from "../method-replay.ts";

const cases = methodCases("35-tlora");

function optionsOf(given: Readonly<Record<string, unknown>>): TloraOptions {
  const rank = Math.max(1, Number(given.rankResidual));
  return {
    modes: 2,
    modesIn: (given.modesIn as number[]).join("x"),
    modesOut: (given.modesOut as number[]).join("x"),
    rankTransform: Number(given.rankTransform),
    residual: given.residual as TloraOptions["residual"],
    rankResidual: rank,
    alpha: Number(given.loraScale ?? 1) * rank,
    side: given.side as TloraOptions["side"],
    init: (given.init ?? "zeroSum") as TloraOptions["init"],
    noise: 0.05,
  };
}

function paramsOf(recorded: MethodCase, values: Values): Record<string, Value> {
  const names = namesBelow(recorded, "param/");
  const own = (name: string) => name.replace("lora_", "lora").replace(".", "");
  return Object.fromEntries(names.map((name) => [own(name), values(`param/${name}`)]));
}

function layerIn(recorded: MethodCase, values: Values): LayerInGraph {
  const weight = values("base/weight");
  const bias = recorded.tensors.has("base/bias") ? values("base/bias") : undefined;
  return linearLayer(weight, bias);
}

test("the recorded cases are there", (context) => {
  if (cases.length === 0) context.skip("methods/35-tlora is not among these references");
  expect([...new Set(cases.map(({ kind }) => kind))].sort()).toEqual(["init_trace", "layer"]);
});

describe.each(cases)("$name", (recorded) => {
  const { values, feeds } = replayed(recorded);
  const given = optionsOf(recorded.options);
  const y = tlora.apply(layerIn(recorded, values), paramsOf(recorded, values), values("in/x"), given);
  const plain: Values = (name) => recorded.tensor(name);
  test("output and gradients", () => replayGradients(recorded, y, "out/y"));
  test("training", () => replayTraining(recorded, y));
  if (recorded.kind === "layer") {
    test("matrices and the merged weight", () => {
      const params = paramsOf(recorded, plain);
      const cores = (name: string) =>
        Object.keys(params)
          .filter((key) => key.startsWith(name))
          .map((key) => params[key]);
      expectRelative(ringTransform(cores("A")) as Tensor, recorded.tensor("out/T"), tolerance.output, "T");
      if (given.residual === "tr") {
        const delta = ringMatrix(cores("B"), cores("C")) as Tensor;
        expectRelative(delta, recorded.tensor("out/Delta"), tolerance.output, "Delta");
      }
      const merged = tlora.weight?.(layerIn(recorded, plain), params, given, {}) as Tensor;
      expectRelative(merged, recorded.tensor("merged/weight"), tolerance.output, "merged");
    });
    test("penalties and their gradients", () => {
      const names = namesBelow(recorded, "param/").filter((name) => name.startsWith("A."));
      const cores = Object.fromEntries(names.map((name) => [name, values(`param/${name}`)]));
      for (const [name, penalty] of [
        ["identity", identityPenalty],
        ["orthogonal", orthogonalPenalty],
      ] as const) {
        const loss = penalty(Object.values(cores));
        const found: Readonly<Record<string, Tensor>> = evaluateTrace({ loss, ...gradient(loss, cores) }, feeds);
        expectRelative(found.loss, recorded.tensor(`penalty/${name}`), 1e-11, name);
        for (const each of names)
          expectRelative(found[each], recorded.tensor(`penalty/${name}.grad.${each}`), 1e-11, `${name} ${each}`);
      }
    });
  }
});
