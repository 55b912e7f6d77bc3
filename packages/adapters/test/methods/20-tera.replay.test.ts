import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { concat, reshape, type Value } from "@loomweight/graph";
import { singularValues } from "@loomweight/linalg";
import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import type { LayerInGraph } from "../../src/define.ts";
import { type TeraOptions, tera } from "../../src/methods/tera.ts";
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

const cases = methodCases("20-tera");
const joined = (sizes: unknown) => (sizes as number[]).join("x");

function optionsOf(given: Readonly<Record<string, unknown>>): TeraOptions {
  return {
    modes: 2,
    modesIn: joined(given.inModes),
    modesOut: joined(given.outModes),
    ranksIn: joined(given.ranksIn),
    ranksOut: joined(given.ranksOut),
    scale: Number(given.scale),
    initValue: 1,
    factorInit: "orthonormal",
    seed: 0,
  };
}

function paramsOf(recorded: MethodCase, values: Values, layer: number): Record<string, Value> {
  const own = namesBelow(recorded, `param/layer${layer}.`).map(
    (name) => [name.replace(".", ""), values(`param/layer${layer}.${name}`)] as const,
  );
  const frozen = namesBelow(recorded, "frozen/").map(
    (name) => [name.replace(".", ""), values(`frozen/${name}`)] as const,
  );
  return Object.fromEntries([...own, ...frozen]);
}

function layerIn(values: Values, index: number): LayerInGraph {
  const weight = values(`base/weight.${index}`);
  return linearLayer(weight);
}

test("the recorded cases are there", (context) => {
  if (cases.length === 0) context.skip("methods/20-tera is not among these references");
  expect([...new Set(cases.map(({ kind }) => kind))]).toEqual(["layers"]);
});

describe.each(cases)("$name", (recorded) => {
  const { values } = replayed(recorded);
  const given = optionsOf(recorded.options);
  const layers = Array.from({ length: Number(recorded.options.layers) }, (_, index) => index);
  const outputs = layers.map((index) => {
    const y = tera.apply(layerIn(values, index), paramsOf(recorded, values, index), values(`in/x.${index}`), given);
    return recorded.tensor("out/y").shape.length === y.shape.length ? y : reshape(y, [1, ...(y.shape as number[])]);
  });
  const y = outputs.length === 1 ? outputs[0] : concat(outputs, 0);
  test("output and gradients", () => replayGradients(recorded, y, "out/y"));
  test("training", () => replayTraining(recorded, y));
  test("updates, merged weights and ranks", (context) => {
    if (!recorded.tensors.has("merged/weight.0")) return context.skip("nothing merged is recorded of this case");
    const plain: Values = (name) => recorded.tensor(name);
    for (const index of layers) {
      const layer = layerIn(plain, index);
      const merged = tera.weight?.(layer, paramsOf(recorded, plain, index), given, {}) as Tensor;
      expectRelative(merged, recorded.tensor(`merged/weight.${index}`), tolerance.output, `merged ${index}`);
      const [after, before] = [toFloat64(merged), toFloat64(layer.weight as Tensor)];
      const delta = { ...merged, data: after.map((value, i) => value - before[i]) } as Tensor;
      expectRelative(delta, recorded.tensor(`out/delta.${index}`), 1e-11, `delta ${index}`);
      const found = [...toFloat64(singularValues(delta))];
      const rank = found.filter((value) => value > 1e-9 * Math.max(1, found[0])).length;
      expect(rank).toBe((recorded.entry.rank_of_delta as number[])[index]);
    }
  });
});
