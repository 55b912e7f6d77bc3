import { singularValues } from "@loomweight/linalg";
import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { adapterContract, expectNumbers, float64, foldRows, numbers, plainNumbers } from "../../test/contract.ts";
import { layerOf } from "../layer.ts";
import { adapterRandom } from "../random/adapter-random.ts";
import { type TeraOptions, tera } from "./tera.ts";

const plain: TeraOptions = {
  modes: 2,
  modesIn: "",
  modesOut: "",
  ranksIn: "",
  ranksOut: "",
  scale: 5,
  initValue: 1,
  factorInit: "orthonormal",
  seed: 7,
};
adapterContract(tera, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options: plain },
  {
    what: "transposed [8, 6], low ranks",
    kind: "transposedLinear",
    storedShape: [8, 6],
    options: { ...plain, ranksIn: "3x2", ranksOut: "2x2", factorInit: "gaussian" },
  },
  {
    what: "three modes out, one in",
    kind: "linear",
    storedShape: [12, 7],
    options: { ...plain, modesOut: "2x2x3", modesIn: "7", ranksIn: "5" },
  },
]);

const params = {
  U0: float64([1, 0, 1, 1], [2, 2]),
  U1: float64([1, 1, 0, 1], [2, 2]),
  V0: float64([1, 0, 0, 1], [2, 2]),
  V1: float64([1, 0, 2, 1], [2, 2]),
  core: float64([1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, -1], [4, 4]),
  d0: float64([1, 2], [2]),
  d1: float64([1, 1], [2]),
  e0: float64([1, 1], [2]),
  e1: float64([0.5, 1], [2]),
};
const zero = Array.from({ length: 4 }, () => [0, 0, 0, 0]);
const update = (own: Readonly<Record<string, Tensor>>) =>
  foldRows(tera, zero, { ...params, ...own }, { ...plain, scale: 1 });

test("worked example", () => {
  expectNumbers(update({}), [0.5, 2, 0, 1, 0, 1, 0, 0, 1.5, 4, 1, 1, 1, 3, 0, -2]);
  const rank = (values: readonly number[]) =>
    [...toFloat64(singularValues(float64(values, [4, 4])))].filter((value) => value > 1e-12).length;
  expect(rank(update({}))).toBe(4);
  expect(rank(update({ d0: float64([1, 0], [2]) }))).toBe(2);
  expectNumbers(update({ d0: float64([0, 0], [2]) }), zero.flat());
});

test("the update is linear in each vector, and their scales trade places", () => {
  const twice = update({ d1: float64([2, 2], [2]) });
  expectNumbers(
    twice,
    update({}).map((value) => 2 * value),
  );
  expectNumbers(update({ d0: float64([3, 6], [2]), d1: float64([1 / 3, 1 / 3], [2]) }), update({}));
});

test("the rank is that of the network, the number of trained values is not", () => {
  const given = { ...plain, modesOut: "4x4", modesIn: "4x4", ranksOut: "2x3", ranksIn: "3x4" };
  const layer = layerOf("linear", [16, 16]);
  const shapes = tera.params(layer, given);
  expect(Object.values(shapes).reduce((sum, shape) => sum + Number((shape as number[])[0]), 0)).toBe(12);
  const shared = tera.shared?.(new Map([["a", layer]]), given, adapterRandom(0, "s")) as Record<string, Tensor>;
  const layers = new Map([["a", layer]]);
  const place = { path: "a", layers, layersInOrder: () => layers };
  const own = Object.fromEntries(
    Object.entries(tera.sharedParams?.(layer, given, place) ?? {}).map(([name, common]) => {
      const key = common?.key ?? "";
      const { shape } = shared[key];
      return [name, float64([...toFloat64(shared[key])], shape)];
    }),
  );
  const random = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, numbers(name, shape as number[])]),
  );
  const delta = foldRows(
    tera,
    Array.from({ length: 16 }, () => new Array<number>(16).fill(0)),
    { ...own, ...random },
    given,
  );
  const values = plainNumbers(singularValues(float64(delta, [16, 16])));
  expect(values.filter((value) => value > 1e-10 * values[0])).toHaveLength(6);
});

test("layers of one shape share their network, whatever the order; another seed is another one", () => {
  const [a, b] = [layerOf("linear", [6, 4]), layerOf("linear", [4, 6])];
  const of = (layers: [string, typeof a][], seed = 7) =>
    tera.shared?.(new Map(layers), { ...plain, seed }, adapterRandom(0, "s")) as Record<string, Tensor>;
  const both = of([
    ["x", a],
    ["y", b],
    ["z", a],
  ]);
  expect(Object.keys(both)).toHaveLength(10);
  expect(
    of([
      ["y", b],
      ["x", a],
    ])["tera_core.3x2_2x2_3x2_2x2"],
  ).toEqual(both["tera_core.3x2_2x2_3x2_2x2"]);
  expect(of([["x", a]], 8)["tera_core.3x2_2x2_3x2_2x2"]).not.toEqual(both["tera_core.3x2_2x2_3x2_2x2"]);
});

test("what does not fit is said", () => {
  const layer = layerOf("linear", [6, 4]);
  expect(() => tera.params(layer, { ...plain, modesOut: "2x2" })).toThrow(/product is 6/);
  expect(() => tera.params(layer, { ...plain, ranksOut: "4x2" })).toThrow(/up to 3x2/);
  expect(() => tera.params(layerOf("linear", [8192, 8192]), plain)).toThrow(/too large.*lower ranks/s);
});
