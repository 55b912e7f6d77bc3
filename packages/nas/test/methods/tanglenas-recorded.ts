import { type MethodCase, readFixtureJson } from "@loomweight/fixtures";
import { evaluateTrace, type GraphValue, gradient, input, slice, type Value } from "@loomweight/graph";
import { convolution, embedding, linear } from "@loomweight/graph/nn";
import { fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { expect } from "vitest";
import { jointProbabilities } from "../../src/entangle/probabilities.ts";
import {
  type Architecture,
  type Axis,
  centred,
  choice,
  chosenNetwork,
  convolutionSpace,
  type Decision,
  darts,
  defineSpace,
  drnas,
  embeddingSpace,
  gdas,
  linearSpace,
  mixtureNetwork,
  type Network,
  normSpace,
  product,
  type Sampler,
  type Space,
  spos,
} from "../../src/index.ts";
import { pick } from "../../src/network/pick.ts";
import { dirichletSlopes } from "../../src/relax/dirichlet-slope.ts";
import { gumbelChoice } from "../../src/relax/gumbel.ts";
import { sparsemaxOf } from "../../src/relax/sparsemax.ts";

interface Difference {
  readonly case: string;
  readonly tensor: string;
  /** How near the two still are, relative to the largest entry; absent where they have nothing in common. */
  readonly tolerance?: number;
  readonly reason: string;
}

export const differences = readFixtureJson<Difference[]>(new URL("../../differences.json", import.meta.url).pathname);

/**
 * Compares relative to the largest entry recorded (at least 1e-4: what is smaller is a difference of numbers about 1).
 * A listed difference must be there, so that the list says nothing that is not so; "*" stands for all of a case.
 */
export function expectRecorded(recorded: MethodCase, name: string, found: Tensor, tolerance = 1e-10): void {
  const wanted = recorded.tensor(name);
  expect([name, found.shape]).toEqual([name, wanted.shape]);
  const [x, y] = [toFloat64(found), toFloat64(wanted)];
  const scale = y.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-4);
  const apart = x.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i])), 0) / scale;
  const listed = differences.find((each) => each.case === recorded.name && ["*", name].includes(each.tensor));
  if (listed?.tensor === name) expect(apart, `${name} is listed as different`).toBeGreaterThan(tolerance);
  const allowed = listed === undefined ? tolerance : (listed.tolerance ?? Number.POSITIVE_INFINITY);
  expect(apart, name).toBeLessThanOrEqual(allowed);
}

export const numbers = (tensor: Tensor): number[] => [...toFloat64(tensor)];
const vector = (values: readonly number[]) => fromFloat64(Float64Array.from(values), [values.length], "float64");

/** The sampler of a recorded optimizer, without its randomness: `drawn` gives what was recorded. */
export function recordedSampler(optimizer: string): Sampler {
  if (optimizer === "darts_softmax") return darts();
  if (optimizer.startsWith("darts")) return darts({ relaxation: "sparsemax" });
  return { drnas, gdas, spos }[optimizer as "drnas" | "gdas" | "spos"]();
}

/** What the sampler is fed so that it draws what was recorded. */
export function recordedDraw(
  sampler: Sampler,
  alpha: readonly number[],
  p: readonly number[],
  noise?: { readonly exponential: readonly number[]; readonly tau: number },
): Readonly<Record<string, readonly number[]>> {
  if (sampler.name === "drnas") {
    const concentrations = alpha.map((each) => (each > 0 ? each + 1 : Math.exp(each)));
    return { sample: p, slope: dirichletSlopes(p, concentrations) };
  }
  if (sampler.name === "gdas") return gumbelChoice(alpha, noise?.exponential ?? [], noise?.tau ?? 1).inputs;
  return sampler.name === "spos" ? { hard: p } : {};
}

/** p and dL/dalpha of one vector. */
function relax(
  sampler: Sampler,
  alpha: readonly number[],
  draw: Readonly<Record<string, readonly number[]>>,
  dp: Tensor,
) {
  const a = input("alpha", "float64", [alpha.length]);
  const inputs = Object.fromEntries(Object.keys(draw).map((name) => [name, input(name, "float64", [alpha.length])]));
  const p = sampler.probabilities(a, inputs);
  const feeds = Object.fromEntries(Object.entries(draw).map(([name, values]) => [name, vector(values)]));
  return evaluateTrace({ p, slope: gradient(p, a, { upstream: dp }) }, { alpha: vector(alpha), ...feeds });
}

export function replayRelaxation(recorded: MethodCase): void {
  const { tensor } = recorded;
  const rows = (name: string) => {
    const all = numbers(tensor(name));
    const n = tensor(name).shape.at(-1) as number;
    return Array.from({ length: all.length / n }, (_, i) => all.slice(i * n, i * n + n));
  };
  const alphas = rows("alpha");
  const whole = (values: readonly Tensor[]) => {
    const data = Float64Array.from(values.flatMap(numbers));
    return fromFloat64(data, [values.length, data.length / values.length], "float64");
  };
  const compare = (
    name: string,
    sampler: Sampler,
    draw: (row: number) => Readonly<Record<string, readonly number[]>>,
  ) => {
    const found = alphas.map((alpha, i) => relax(sampler, alpha, draw(i), vector(rows("grad.p")[i])));
    expectRecorded(recorded, `${name}.p`, whole(found.map(({ p }) => p)));
    expectRecorded(recorded, `${name}.grad.alpha`, whole(found.map(({ slope }) => slope)));
  };
  compare("softmax", darts(), () => ({}));
  compare("sparsemax", darts({ relaxation: "sparsemax" }), () => ({}));
  alphas.forEach((alpha, i) => {
    for (const [j, p] of sparsemaxOf(alpha).entries()) expect(p).toBeCloseTo(rows("sparsemax.p")[i][j], 12);
  });
  for (const epoch of [0, 1, 2]) {
    const tau = numbers(tensor(`gdas${epoch}.tau`))[0];
    // The reference holds tau in float32.
    expect(Math.fround(10 - (9.9 * epoch) / 2)).toBeCloseTo(tau, 6);
    compare(`gdas${epoch}`, gdas(), (i) =>
      recordedDraw(gdas(), alphas[i], [], { exponential: rows(`gdas${epoch}.exponential`)[i], tau }),
    );
  }
  compare("drnas", drnas(), (i) => recordedDraw(drnas(), alphas[i], rows("drnas.p")[i]));
  const [a, b, c] = ["a", "b", "c"].map((name) => tensor(`joint.${name}`));
  expectRecorded(recorded, "joint.ab", jointProbabilities([a, b], "float64") as Tensor);
  expectRecorded(recorded, "joint.abc", jointProbabilities([a, b, c], "float64") as Tensor);
}

interface Entry {
  readonly kind: string;
  readonly optimizer: string;
  readonly cls: string;
  readonly embed: readonly number[];
  readonly ratio: readonly number[];
  readonly heads: readonly number[];
  readonly inChannels: readonly number[];
  readonly outChannels: readonly number[];
  readonly kernels: readonly number[];
  readonly stride: number;
  readonly padding: number;
}

/** Space and forward pass of a recorded operation; decisions in the order of `alpha.<i>`. */
interface Operation {
  readonly decisions: readonly Decision[];
  readonly space: Space;
  run(network: Network, x: Value, recorded: MethodCase): Value;
}

function operationOf(recorded: MethodCase): Operation {
  const entry = recorded.entry as unknown as Entry;
  const { tensor } = recorded;
  if (entry.kind === "depth") {
    const depth = choice("depth", [1, 2, 3]);
    return { decisions: [depth], space: defineSpace({}, [depth]), run: () => fail("built apart") };
  }
  const embed = entry.embed && choice("embed", entry.embed);
  const fullOut = (name: string) => tensor(`master.${name}`).shape[0];
  const linearIn = (weight: [Axis, Axis], decisions: readonly Decision[]): Operation => ({
    decisions,
    space: defineSpace(linearSpace("linear", { outputs: weight[0] as number, inputs: weight[1] as number })),
    run: (network, x) => linear(network.weights, "linear", x),
  });
  switch (entry.cls) {
    case "MixedLinearV2":
    case "MixedLinearV2(reverse)": {
      const ratio = choice("ratio", entry.ratio);
      const hidden = product(ratio, embed);
      return linearIn(entry.cls === "MixedLinearV2" ? [hidden, embed] : [embed, hidden], [embed, ratio]);
    }
    case "MixedLinearV2Emb":
      return linearIn([embed, embed], [embed]);
    case "MixedLinearHeadV2":
      return linearIn([fullOut("linear.weight"), embed], [embed]);
    case "MixedEmbeddingAttention":
      // The reference takes the leading 3e rows of the stacked q, k, v.
      return linearIn([product(3, embed), embed], [embed]);
    case "MixedEmbeddingV2":
      return {
        decisions: [embed],
        space: defineSpace(embeddingSpace("embedding", { count: fullOut("embedding.weight"), size: embed })),
        run: (network) => embedding(network.weights, "embedding", tensor("x")),
      };
    case "MixedLayerNormV2":
      return {
        decisions: [embed],
        space: defineSpace(normSpace("norm", { size: embed })),
        run: (network, x) => network.layerNorm("norm", x),
      };
    case "MixedAttnHeadEmbed": {
      const heads = choice("heads", entry.heads);
      return {
        decisions: [heads, embed],
        space: defineSpace({}, [heads, embed]),
        run(network, x) {
          const width = network.size(embed);
          const part = (i: number) => lastPart(x, i * width, width);
          return network.attention(part(0), part(1), part(2), { heads, width: embed, causal: true });
        },
      };
    }
    default: {
      const fixedIn = entry.cls === "ConvMixtureFixedInCh";
      const fixedOut = entry.cls === "ConvMixtureFixedOutCh";
      const [outputs, inputs, kernel] = tensor("master.conv.weight").shape;
      const from = fixedIn ? inputs : choice("in", entry.inChannels);
      const to = fixedOut ? outputs : choice("out", entry.outChannels);
      const side = fixedOut ? kernel : choice("kernel", entry.kernels);
      if (typeof side !== "number") expect(centred(side).decision).toBe(side);
      return {
        decisions: [from, to, side].filter((each) => typeof each !== "number"),
        space: defineSpace(convolutionSpace("conv", { inputs: from, outputs: to, kernel: side })),
        run(network, x) {
          // The reference pads a chosen kernel by 3 unless it is 3 or 5: for 7 that is right.
          const padding = fixedOut ? entry.padding : (network.size(side) - 1) / 2;
          return convolution(network.weights, "conv", x, { stride: entry.stride, padding });
        },
      };
    }
  }
}

function fail(message: string): never {
  throw new Error(message);
}

export function replayOperation(recorded: MethodCase): void {
  const entry = recorded.entry as unknown as Entry;
  const { tensors, tensor } = recorded;
  const { decisions, space, run } = operationOf(recorded);
  const sampler = recordedSampler(entry.optimizer);
  const suffix = (i: number) => (entry.kind === "depth" ? "" : `.${i}`);
  const feeds: Record<string, Tensor> = {};
  const fed = (name: string, value: Tensor): GraphValue => {
    feeds[name] = value;
    return input(name, value.dtype, value.shape);
  };
  const alphas = decisions.map((_, i) => fed(`alpha${suffix(i)}`, tensor(`alpha${suffix(i)}`)));
  const recordedP = decisions.map((_, i) => numbers(tensor(`p${suffix(i)}`)));
  const probabilities = decisions.map((_, i) => {
    const noise = tensors.has(`noise${suffix(i)}.tau`)
      ? {
          exponential: numbers(tensor(`noise${suffix(i)}.exponential`)),
          tau: numbers(tensor(`noise${suffix(i)}.tau`))[0],
        }
      : undefined;
    const draw = recordedDraw(sampler, numbers(tensor(`alpha${suffix(i)}`)), recordedP[i], noise);
    const values = Object.fromEntries(
      Object.entries(draw).map(([name, each]) => [name, fed(`draw${i}/${name}`, vector(each))]),
    );
    return sampler.probabilities(alphas[i], values);
  });
  const weights: Record<string, GraphValue> = {};
  for (const name of tensors.keys()) {
    if (name.startsWith("master.")) weights[name.slice(7)] = fed(name, tensor(name));
  }
  const named = <T>(values: readonly T[]) => Object.fromEntries(decisions.map(({ name }, i) => [name, values[i]]));
  const parity = { layerNorm: "superpose", attention: "superpose" } as const;
  const indices = recordedP.map((p) => p.indexOf(1));
  const architecture: Architecture = named(decisions.map(({ choices }, i) => choices[indices[i]]));
  const shares = named(probabilities.map((p, i) => pick(p, Math.max(0, indices[i]))));
  const network = sampler.hard
    ? chosenNetwork(space, weights, architecture, { ...parity, shares })
    : mixtureNetwork(space, weights, named(probabilities), parity);
  const x = tensors.has("x") && tensor("x").dtype === "float64" ? fed("x", tensor("x")) : undefined;
  let y: Value;
  if (entry.kind === "depth") {
    const candidates = [0, 1, 2].map((i) => fed(`h.${i}`, tensor(`h.${i}`)));
    y = network.mix(decisions[0], (_, i) => candidates[i]);
  } else y = run(network, x as Value, recorded);
  const wanted: Record<string, GraphValue> = Object.fromEntries(alphas.map((value) => [value.name, value]));
  for (const [name, value] of Object.entries(weights)) wanted[`master.${name}`] = value;
  for (const name of Object.keys(feeds))
    if (/^(x|h\.\d)$/.test(name)) wanted[name] = input(name, "float64", feeds[name].shape);
  const results: Record<string, Value> = { y };
  decisions.forEach((_, i) => {
    results[`p${suffix(i)}`] = probabilities[i];
  });
  for (const [name, value] of Object.entries(network.weights)) {
    const at = `mixed.0.${name.split(".").at(-1)}`;
    if (tensors.has(at)) results[at] = value;
  }
  if (tensors.has("p.joint")) results["p.joint"] = jointProbabilities(probabilities, "float64");
  const inputs = Object.fromEntries(
    Object.keys(wanted).map((name) => [name, name === "x" ? (x as GraphValue) : wanted[name]]),
  );
  for (const name of Object.keys(inputs)) if (name.startsWith("h.")) delete inputs[name];
  const slopes = gradient(y, inputs, { upstream: tensor("grad.y") });
  for (const [name, value] of Object.entries(slopes)) results[`grad.${name}`] = value;
  for (const [name, value] of Object.entries(evaluateTrace(results, feeds))) expectRecorded(recorded, name, value);
}

function lastPart(x: Value, start: number, size: number): Value {
  return slice(x, { starts: [start], ends: [start + size], axes: [x.shape.length - 1] });
}
