import { join } from "node:path";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { add, gemm, matMul, mul, transpose } from "@loomweight/graph";
import { cast, type Tensor, zeros } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { corda } from "../src/initialise/corda.ts";
import { eva, evaCount } from "../src/initialise/eva.ts";
import { loraGa } from "../src/initialise/lora-ga.ts";
import { type LowRankStart, startFactors, takenFromBase } from "../src/initialise/low-rank-start.ts";
import { incrementalPca } from "../src/initialise/principal-directions.ts";
import { type LayerShape, layerOf } from "../src/layer.ts";
import type { LowRankOptions } from "../src/maths/low-rank.ts";
import { kasa } from "../src/methods/kasa.ts";
import { adapterRandom } from "../src/random/adapter-random.ts";
import { valuesOf } from "./memory.ts";

interface Expected {
  readonly base: string;
  readonly call: string;
  readonly note: string;
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
  readonly scaling: Readonly<Record<string, number>>;
}
type Tensors = ReadonlyMap<string, Tensor>;

/** Absolute, of the folder's README. */
const tolerances: readonly (readonly [RegExp, number])[] = [
  [/^corda/, 5e-4],
  [/^eva/, 2e-2],
  [/^mica/, 1e-6],
  [/./, 2e-5],
];

const area = fixtureArea("peft") ?? "";
const names = fixtureCases("peft", { within: "init" });
const absent = "(no recorded cases here)";

test.for(names.length > 0 ? names : [absent])("%s starts as PEFT's", async (name, context) => {
  if (name === absent) context.skip("../shared/fixtures/peft/init is not here");
  const folder = join(area, "init", name);
  const expected = readFixtureJson<Expected>(join(folder, "expected.json"));
  const recorded = readFixtureTensors(join(folder, "expected.safetensors"));
  const weights = readFixtureTensors(join(area, expected.base, "model.safetensors"));
  const tolerance = tolerances.find(([pattern]) => pattern.test(name))?.[1] as number;
  const rank = Number(/r=(\d+)/.exec(expected.call)?.[1]);
  const alpha = Number(/lora_alpha=(\d+)/.exec(expected.call)?.[1]);
  const computed = name.startsWith("eva")
    ? evaValues(expected, recorded, { rank, alpha })
    : await layerValues(name, expected, { recorded, weights, rank, alpha });
  let compared = 0;
  for (const [key, value] of recorded) {
    if (key.startsWith("aux/") || key === "logits") continue;
    // Each factor's signs are free there, so their product is not determined; base + product = W is.
    if (name.startsWith("lora_ga") && /^(base|product)\//.test(key)) continue;
    const found = computed.get(key);
    expect(found, key).toBeDefined();
    const bound = name === "orthogonal" ? 1e-6 : tolerance;
    expect([key, worst(found as Tensor, value) <= bound ? "close" : worst(found as Tensor, value)]).toEqual([
      key,
      "close",
    ]);
    compared++;
  }
  expect(compared).toBeGreaterThan(0);
  if (name === "kasa") return; // loses its smallest directions for good
  for (const [key, value] of computed) {
    if (!key.startsWith("base/")) continue;
    const stored = key.slice("base/".length);
    const sum = add(value, computed.get(`product/${stored}`) as Tensor) as Tensor;
    expect(worst(sum, weights.get(stored) as Tensor)).toBeLessThanOrEqual(1e-6);
  }
});

/** What every layer starts as, under the record's keys. */
async function layerValues(
  name: string,
  expected: Expected,
  given: { recorded: Tensors; weights: Tensors; rank: number; alpha: number },
): Promise<Map<string, Tensor>> {
  const { recorded, weights, rank, alpha } = given;
  const isTransposed = expected.call.includes("fan_in_fan_out=True");
  const stored = (matrix: Tensor) => (isTransposed ? turned(matrix) : matrix);
  const computed = new Map<string, Tensor>();
  for (const [path, scale] of Object.entries(expected.scaling)) {
    const key = `${path}.weight`;
    const raw = weights.get(key) as Tensor;
    const weight = cast(stored(raw), "float64");
    const layer = layerOf(isTransposed ? "transposedLinear" : "linear", raw.shape);
    const options = { rank, alpha, rankStabilized: false };
    let start: { A: Tensor; B: Tensor; base?: Tensor };
    if (name.startsWith("corda")) {
      const mode = name.endsWith("kpm") ? "kpm" : "ipm";
      start = corda(weight, recorded.get(`aux/covariance/${path}`) as Tensor, { rank, scale, mode });
    } else if (name.startsWith("lora_ga")) {
      const direction = name.slice("lora_ga_".length) as "ArBr";
      start = loraGa(weight, recorded.get(`aux/gradient/${path}`) as Tensor, { rank, scale, direction });
    } else if (name === "kasa") {
      start = await withoutSmallest(weight, layer, options);
    } else {
      const init = name.split("_")[0] as LowRankStart;
      const taken = takenFromBase(layer, weight, init, options);
      const base = taken && (gemm(mul(taken.B, -scale), taken.A, weight) as Tensor);
      start = { ...startFactors(layer, init, options, { random: adapterRandom(1, path), weight }), base };
    }
    const A = cast(start.A, "float64");
    const B = cast(start.B, "float64");
    if (start.base !== undefined) computed.set(`base/${key}`, stored(start.base));
    computed.set(`product/${key}`, stored(mul(matMul(B, A), scale) as Tensor));
    computed.set(`AtA/${path}`, matMul(turned(A), A) as Tensor);
    computed.set(`BBt/${path}`, matMul(B, turned(B)) as Tensor);
  }
  return computed;
}

async function withoutSmallest(weight: Tensor<"float64">, layer: LayerShape, options: LowRankOptions) {
  const place = {
    path: "layer",
    layers: new Map([["layer", layer]]),
    layersInOrder: () => new Map([["layer", layer]]),
  };
  const lost = await kasa.prepare?.(layer, {} as never, options, { ...place, weight: async () => weight });
  const { lostA, lostB } = lost as Readonly<Record<string, Tensor>>;
  const A = zeros([options.rank, layer.in]);
  return { A, B: zeros([layer.out, options.rank]), base: gemm(mul(lostB, -1), lostA, weight) as Tensor };
}

/** AtA of all layers by their recorded inputs; checks the ranks. */
function evaValues(
  expected: Expected,
  recorded: Tensors,
  { rank, alpha }: { rank: number; alpha: number },
): Map<string, Tensor> {
  const rho = Number(/rho=([\d.]+)/.exec(expected.call)?.[1]);
  const directions = new Map(
    Object.keys(expected.scaling).map((path) => {
      const inputs = recorded.get(`aux/layer_input/${path}`) as Tensor;
      const pca = incrementalPca(inputs.shape[1], evaCount({ rank, rho }));
      expect(pca.add(inputs)).toBe(true);
      return [path, pca.directions()] as const;
    }),
  );
  const start = eva(directions, { rank, alpha, rho });
  expect(start.rankPattern).toEqual(expected.rank_pattern);
  expect(start.alphaPattern).toEqual(expected.alpha_pattern);
  return new Map([...start.layers].map(([path, { A }]) => [`AtA/${path}`, matMul(turned(A), A) as Tensor]));
}

const turned = (matrix: Tensor) => transpose(matrix, [1, 0]) as Tensor;

function worst(found: Tensor, recorded: Tensor): number {
  expect(found.shape).toEqual(recorded.shape);
  const [a, b] = [valuesOf(cast(found, "float32")), valuesOf(recorded)];
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}
