import { add, matMul, mul, transpose, type Value } from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { singularValues } from "@loomweight/linalg";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { blockContract, largest, testSite } from "../../test/block-contract.ts";
import { numbers } from "../../test/contract.ts";
import { numbersOf } from "../../test/method-replay.ts";
import { countBlockParameters } from "../define-block.ts";
import { activate, bottleneck } from "../maths/bottleneck.ts";
import { type AdaptFormerOptions, adaptFormer, foldAdaptFormerScale, fuseIntoMlp, wideMlp } from "./adaptformer.ts";

const plain: AdaptFormerOptions = {
  bottleneck: 3,
  scale: 0.1,
  learnableScale: false,
  placement: "parallel",
  input: "residual",
  outputNorm: false,
  dropout: 0.1,
};
const place = { in: 6, out: 6 };
blockContract(adaptFormer, [
  { what: "parallel", ...place, options: plain },
  { what: "sequential", ...place, options: { ...plain, placement: "sequential", scale: 1 } },
  {
    what: "parallel, own norm, trained scale",
    ...place,
    options: { ...plain, input: "ownNorm", learnableScale: true },
  },
  { what: "parallel, what the MLP reads", ...place, options: { ...plain, input: "module", bottleneck: 9 } },
  { what: "sequential, own norm", ...place, options: { ...plain, placement: "sequential", input: "ownNorm" } },
  { what: "norm after the branch", ...place, options: { ...plain, outputNorm: true } },
]);

const tensor = (values: number[], shape = [values.length]) => fromData("float64", Float64Array.from(values), shape);
const example = {
  down: tensor([0.5, -0.25, 1, -1, 0.5, 0.2], [2, 3]),
  downBias: tensor([0.1, -0.1]),
  up: tensor([0.2, -0.1, 0, 0.3, 0.1, 0.1], [3, 2]),
  upBias: tensor([0, 0.01, -0.02]),
};
const norm = { normWeight: tensor([1, 1, 1]), normBias: tensor([0, 0, 0]) };
/** x_next = h + m′ of the card's block. */
function next(options: Partial<AdaptFormerOptions>): number[] {
  const h = tensor([1, -2, 0.5], [1, 3]);
  const m = tensor([0.2, 0.4, -0.6], [1, 3]);
  const site = { path: "blocks.0.mlp", index: 0, in: 3, out: 3, input: h, output: m, residual: h };
  const given = { ...plain, bottleneck: 2, ...options };
  return numbersOf(add(h, adaptFormer.apply(site, { ...example, ...norm }, given)) as Tensor);
}

test.each<[string, Partial<AdaptFormerOptions>, number[]]>([
  ["parallel", {}, [1.232, -1.599, -0.086]],
  ["sequential", { placement: "sequential" }, [1.2, -1.599, -0.102]],
  ["own norm", { input: "ownNorm" }, [1.22803, -1.599, -0.0879825]],
  ["norm after the branch", { outputNorm: true }, [1.2 + 1.24702, -1.6 - 1.11977, -0.1 - 0.127247]],
])("worked example: %s", (_what, options, expected) => {
  next(options).forEach((value, i) => {
    expect(Math.abs(value - expected[i])).toBeLessThan(1e-5);
  });
});

test("parallel and sequential differ, and agree where the MLP gives the stream itself", () => {
  const site = testSite({ path: "m", index: 0, in: 6, out: 6 }, 4);
  const params = {
    down: numbers("d", [3, 6]),
    downBias: numbers("e", [3]),
    up: numbers("u", [6, 3]),
    upBias: numbers("v", [6]),
  };
  const run = (placement: "parallel" | "sequential", output: Value) =>
    adaptFormer.apply({ ...site, output }, params, { ...plain, placement }) as Tensor;
  expect(largest(run("parallel", site.output), run("sequential", site.output))).toBeGreaterThan(1e-3);
  const same = site.residual as Value;
  expect(numbersOf(run("parallel", same))).toEqual(numbersOf(run("sequential", same)));
});

test("a drop path that drops the whole MLP leaves h + branch", () => {
  const site = testSite({ path: "m", index: 0, in: 6, out: 6 }, 4);
  const params = {
    down: numbers("d", [3, 6]),
    downBias: numbers("e", [3]),
    up: numbers("u", [6, 3]),
    upBias: numbers("v", [6]),
  };
  const whole = adaptFormer.apply({ ...site, output: mul(site.output, 0) }, params, plain) as Tensor;
  const alone = mul(bottleneck(site.residual as Value, params, "relu"), 0.1) as Tensor;
  expect(largest(whole, alone)).toBeLessThan(1e-15);
});

test("the scale folded into up, and MLP and branch as one wider MLP, give the same numbers", () => {
  const [d, hidden, r] = [6, 10, 3];
  const site = testSite({ path: "m", index: 0, in: d, out: d }, 5);
  const mlp = {
    fc1: { weight: numbers("a", [hidden, d]), bias: numbers("b", [hidden]) },
    fc2: { weight: numbers("c", [d, hidden]), bias: numbers("g", [d]) },
  };
  const params = {
    down: numbers("d", [r, d]),
    downBias: numbers("e", [r]),
    up: numbers("u", [d, r]),
    upBias: numbers("v", [d]),
  };
  const output = linearOf(
    activate(linearOf(site.input, mlp.fc1.weight, mlp.fc1.bias), "gelu"),
    mlp.fc2.weight,
    mlp.fc2.bias,
  );
  const apart = adaptFormer.apply({ ...site, output }, params, { ...plain, input: "module", scale: 0.3 }) as Tensor;
  const folded = foldAdaptFormerScale(params, 0.3);
  const unscaled = adaptFormer.apply({ ...site, output }, folded as never, { ...plain, input: "module", scale: 1 });
  expect(largest(apart, unscaled as Tensor)).toBeLessThan(1e-14);
  const fused = wideMlp(site.input, fuseIntoMlp(mlp, params, 0.3), hidden, "gelu") as Tensor;
  expect(largest(apart, fused)).toBeLessThan(1e-12);
});

test("without ReLU the branch is a linear map of rank r", () => {
  const params = {
    down: numbers("d", [2, 6]),
    downBias: numbers("e", [2]),
    up: numbers("u", [6, 2]),
    upBias: numbers("v", [6]),
  };
  const x = numbers("x", [9, 6]);
  const zero = bottleneck(mul(x, 0), params, "identity");
  const map = add(bottleneck(x, params, "identity"), mul(zero, -1)) as Tensor;
  const singular = numbersOf(singularValues(map));
  expect(singular[1]).toBeGreaterThan(0.1);
  expect(singular[2]).toBeLessThan(1e-12);
  expect(
    largest(
      add(map, zero) as Tensor,
      add(matMul(matMul(x, transpose(params.down, [1, 0])), transpose(params.up, [1, 0])), zero) as Tensor,
    ),
  ).toBeLessThan(1e-12);
});

test("counts: ViT-B/16 at 64 trains 1,189,632 numbers, below 2 % of the backbone's 85.8 million", () => {
  const sites = Array.from({ length: 12 }, (_, index) => ({ path: `blocks.${index}.mlp`, index, in: 768, out: 768 }));
  const count = countBlockParameters(adaptFormer, sites, { ...plain, bottleneck: 64 });
  expect(count).toBe(1_189_632);
  expect(count / 85.8e6).toBeLessThan(0.02);
});

test("options that contradict each other or the site are named", () => {
  const params = (width: number, options: Partial<AdaptFormerOptions>) => () =>
    adaptFormer.params({ path: "blocks.0.fc1", index: 0, in: 6, out: width }, { ...plain, ...options });
  expect(params(6, { outputNorm: true, input: "ownNorm" })).toThrow(/outputNorm/);
  expect(params(6, { placement: "sequential", input: "module" })).toThrow(/sequential branch reads/);
  expect(params(24, {})).toThrow(/as wide at the end as at the start/);
  const site = { ...testSite({ path: "blocks.0", index: 0, in: 6, out: 6 }, 2), residual: undefined };
  expect(() => adaptFormer.apply(site, {}, plain)).toThrow(/not added to anything/);
});
