import { equal, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { runSteps } from "../test/run.ts";
import { wave } from "../test/wave.ts";
import { chain } from "./chain.ts";
import { ema } from "./ema.ts";
import { groups } from "./groups.ts";
import { maskWeightDecay } from "./mask-weight-decay.ts";
import { adamw } from "./methods/adamw.ts";
import { muon } from "./methods/muon.ts";
import { sgd } from "./methods/sgd.ts";
import { isMatrix, isVector, matches } from "./pattern.ts";
import { zerosLike } from "./per-parameter.ts";

const initial = {
  "layers.0.weight": wave([3, 2], 1),
  "layers.0.bias": wave([3], 2),
  "norm.weight": wave([2], 3),
  "embed.weight": wave([4, 2], 4),
};
const gradients = Array.from({ length: 3 }, (_, t) =>
  Object.fromEntries(Object.entries(initial).map(([name, { shape }]) => [name, wave(shape, t)])),
);

test("every group steps as its optimizer alone would, with its own rate; frozen ones stay", () => {
  const optimizer = groups(
    [
      { parameters: "embed.*", optimizer: "frozen" },
      { parameters: isMatrix, optimizer: muon(), learningRateScale: 2 },
      { parameters: ["*.bias", "norm*"], optimizer: adamw({ weightDecay: 0 }) },
    ],
    sgd(),
  );
  const { parameters, state } = runSteps(optimizer, initial, gradients, 0.1)[2];
  const alone = (name: keyof typeof initial, own: Parameters<typeof runSteps>[0], rate: number) =>
    runSteps(
      own,
      { [name]: initial[name] },
      gradients.map((each) => ({ [name]: each[name] })),
      rate,
    )[2].parameters[name];
  expect(equal(parameters["embed.weight"], initial["embed.weight"])).toBe(true);
  expect(equal(parameters["layers.0.weight"], alone("layers.0.weight", muon(), 0.2))).toBe(true);
  expect(equal(parameters["layers.0.bias"], alone("layers.0.bias", adamw({ weightDecay: 0 }), 0.1))).toBe(true);
  expect(equal(parameters["norm.weight"], alone("norm.weight", adamw({ weightDecay: 0 }), 0.1))).toBe(true);
  expect(Object.keys(state).sort()).toEqual([
    "exp_avg/layers.0.bias",
    "exp_avg/norm.weight",
    "exp_avg_sq/layers.0.bias",
    "exp_avg_sq/norm.weight",
    "momentum_buffer/layers.0.weight",
  ]);
});

test("averages inside one group and around all", () => {
  const inside = groups([{ parameters: isMatrix, optimizer: chain(sgd(), ema({ decay: 0.5 })) }], sgd());
  const at = runSteps(inside, initial, gradients, 0.1)[2];
  const averaged = inside.averaged?.(at) as Record<string, Tensor>;
  expect(equal(averaged["layers.0.bias"], at.parameters["layers.0.bias"])).toBe(true);
  expect(equal(averaged["layers.0.weight"], at.state["ema/layers.0.weight"])).toBe(true);
  const around = chain(groups([{ parameters: isVector, optimizer: sgd() }], adamw()), ema({ decay: 0.5 }));
  expect(Object.keys(around.averaged?.(runSteps(around, initial, gradients, 0.1)[2]) ?? {})).toHaveLength(4);
});

test("a pattern that takes nothing and a parameter that nothing takes are refused by name", () => {
  expect(() => groups([{ parameters: "layer.*", optimizer: sgd() }], sgd()).init(initial)).toThrow(
    /group 0 takes no parameter/,
  );
  expect(() => groups([{ parameters: "*.weight", optimizer: sgd() }]).init(initial)).toThrow(/layers\.0\.bias/);
});

test("weight decay by mask: matrices only, or what a pattern takes", () => {
  const none = Object.fromEntries(Object.entries(initial).map(([name, value]) => [name, zerosLike(value)]));
  const moved = (optimizer: Parameters<typeof runSteps>[0]) => {
    const { parameters } = runSteps(optimizer, initial, [none], 0.1)[0];
    return Object.entries(initial).flatMap(([name, value]) => (equal(parameters[name], value) ? [] : [name]));
  };
  expect(moved(maskWeightDecay(adamw, { weightDecay: 0.1 }))).toEqual(["layers.0.weight", "embed.weight"]);
  expect(moved(maskWeightDecay(adamw, {}, "layers.*"))).toEqual(["layers.0.weight", "layers.0.bias"]);
});

test("patterns", () => {
  expect(matches("*.bias", "layers.0.bias", [3])).toBe(true);
  expect(matches("layers.*.bias", "layers.bias", [3])).toBe(false);
  expect(matches("a*a", "a", [])).toBe(false);
  expect(matches("a*b*c", "aXbYbZc", [])).toBe(true);
  expect(matches("weight", "weight.extra", [])).toBe(false);
  expect(matches("w.*", "wx", [])).toBe(false); // the dot is a dot
  expect(matches(/norm/g, "norm.weight", [2])).toBe(true);
  expect(matches(/norm/g, "norm.weight", [2])).toBe(true); // no state between calls
  expect(matches([isMatrix, "b"], "b", [1])).toBe(true);
});
