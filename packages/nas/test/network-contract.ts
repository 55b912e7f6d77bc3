import {
  assemble,
  evaluateTrace,
  type GraphValue,
  gradient,
  input,
  mul,
  reduceSum,
  stateValue,
  type Value,
} from "@loomweight/graph";
import { createRandom, equal, expectClose, fromData, fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { chosenRanges } from "../src/entangle/slice.ts";
import {
  type Architecture,
  allArchitectures,
  chosenNetwork,
  countArchitectures,
  countParameters,
  darts,
  expectedSize,
  extract,
  initialWeights,
  mixtureNetwork,
  type Network,
  type Space,
} from "../src/index.ts";
import { onlyChosen } from "../src/relax/one-hot.ts";
import type { Example } from "./networks.ts";

type Tensors = Record<string, Tensor>;

/** Weights that no layer leaves as they are: norms' gains and biases drawn too. */
export function drawnWeights(space: Space, dtype: "float32" | "float64"): Tensors {
  return Object.fromEntries(
    Object.entries(initialWeights(space, 3)).map(([name, { shape }]) => {
      const values = new Float64Array(shape.reduce((all, size) => all * size, 1));
      createRandom(5, "weights").child(name).uniformsInto(values, { low: 0.2, high: 1 });
      const signed = values.map((value, i) => (i % 3 === 1 && !name.includes("running") ? -value : value));
      return [name, fromFloat64(signed, shape, dtype)];
    }),
  );
}

export function drawnInputs(inputs: Readonly<Record<string, GraphValue>>): Tensors {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { dtype, shape }]) => {
      const sizes = shape as number[];
      const values = new Float64Array(sizes.reduce((all, size) => all * size, 1));
      createRandom(9, "inputs").child(name).normalsInto(values);
      if (dtype === "int32")
        return [
          name,
          fromData(
            "int32",
            Int32Array.from(values, (value) => Math.floor(Math.abs(value) * 3) % 5),
            sizes,
          ),
        ];
      return [name, fromFloat64(values, sizes, dtype)];
    }),
  );
}

const first = (outputs: Readonly<Record<string, Value>>): Value => Object.values(outputs)[0];
const oneHot = (space: Space, architecture: Architecture): Tensors =>
  Object.fromEntries(
    Object.values(space.decisions).map(({ name, choices }) => [
      name,
      fromFloat64(
        Float64Array.from(choices, (each) => Number(each === architecture[name])),
        [choices.length],
        "float64",
      ),
    ]),
  );

/** Zeros behind a smaller output, to compare it with that of the largest network. */
export function padded(small: Tensor, shape: readonly number[]): Tensor {
  const values = new Float64Array(shape.reduce((all, size) => all * size, 1));
  const from = toFloat64(small);
  for (let i = 0; i < from.length; i++) {
    let [rest, at, stride] = [i, 0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += (rest % small.shape[axis]) * stride;
      rest = Math.floor(rest / small.shape[axis]);
      stride *= shape[axis];
    }
    values[at] = from[i];
  }
  return fromFloat64(values, shape, "float64");
}

/** What holds for every space and model: a mixture, its networks and what is cut out of it agree. */
export function networkContract(make: (dtype: "float32" | "float64") => Example): void {
  const { name, space, model, inputs } = make("float64");
  const weights = drawnWeights(space, "float64");
  const feeds = drawnInputs(inputs);
  const output = (network: Network): Tensor => evaluateTrace({ y: first(model(network, inputs)) }, feeds).y;
  const all = [...allArchitectures(space)];

  describe(name, () => {
    test("a choice of probability 1 is the chosen network, which is the extracted one", () => {
      for (const architecture of all) {
        const own = output(chosenNetwork(space, extract(space, weights, architecture), architecture));
        expectClose(output(chosenNetwork(space, weights, architecture)), own, 1e-12);
        const mixture = output(mixtureNetwork(space, weights, oneHot(space, architecture)));
        expectClose(mixture, padded(own, mixture.shape), 1e-10);
      }
    });

    test("an extracted network is the slice, bit by bit, and does not depend on what was cut off", () => {
      for (const architecture of all) {
        const poisoned = Object.fromEntries(
          Object.entries(weights).map(([each, tensor]) => [each, poison(tensor, space, each, architecture)]),
        );
        const [clean, cut] = [weights, poisoned].map((from) => extract(space, from, architecture));
        expect(Object.keys(cut)).toEqual(Object.keys(clean));
        for (const each of Object.keys(clean)) expect(equal(clean[each], cut[each]), each).toBe(true);
        const y = output(chosenNetwork(space, poisoned, architecture));
        expect(toFloat64(y).every(Number.isFinite)).toBe(true);
        const counted = Object.values(cut).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
        expect(countParameters(space, architecture)).toBe(counted);
      }
    });

    test("a network computed alone and the mixture of its one-hot choices pass the same gradients", () => {
      const named = Object.fromEntries(
        Object.keys(weights).map((each) => [each, stateValue(each, "float64", weights[each].shape)]),
      );
      for (const architecture of [all[0], all[Math.floor(all.length / 2)], all[all.length - 1]]) {
        const hard = oneHot(space, architecture);
        const p = Object.fromEntries(
          Object.keys(hard).map((each) => [each, input(`p/${each}`, "float64", hard[each].shape)]),
        );
        const share = (each: string) => reduceSum(mul(p[each], hard[each]), [0]);
        const alone = chosenNetwork(space, named, architecture, {
          shares: Object.fromEntries(Object.keys(p).map((each) => [each, share(each)])),
        });
        const masked = mixtureNetwork(
          space,
          named,
          Object.fromEntries(Object.keys(p).map((each) => [each, onlyChosen(p[each], hard[each])])),
        );
        const [a, b] = [alone, masked].map((network) => {
          const y = first(model(network, inputs));
          const loss = reduceSum(mul(y, y), undefined, false);
          const slopes = gradient(loss, {
            ...named,
            ...Object.fromEntries(Object.entries(p).map(([each, value]) => [`p/${each}`, value])),
          });
          const fed = Object.fromEntries(Object.entries(hard).map(([each, value]) => [`p/${each}`, value]));
          return evaluateTrace(slopes, { ...weights, ...feeds, ...fed });
        });
        for (const each of Object.keys(named)) expectClose(b[each], a[each], 1e-9);
        // Layers have a scale that normalization takes away; what reaches a decision through others is compared too.
        for (const each of Object.keys(p)) expectClose(b[`p/${each}`], a[`p/${each}`], 1e-9);
      }
    });

    test("the expected size is the mean over all networks", () => {
      const alpha = Object.values(space.decisions).map(({ choices }, i) => choices.map((_, j) => Math.sin(i + 2 * j)));
      const p = alpha.map((each) => darts().mean(each));
      const probabilities = Object.fromEntries(
        Object.keys(space.decisions).map((each, i) => [
          each,
          fromFloat64(Float64Array.from(p[i]), [p[i].length], "float64"),
        ]),
      );
      const explicit = all.reduce((sum, architecture) => {
        const likely = Object.values(space.decisions).reduce(
          (product, { name: each, choices }, i) => product * p[i][choices.indexOf(architecture[each])],
          1,
        );
        return sum + likely * countParameters(space, architecture);
      }, 0);
      expect(toFloat64(expectedSize(space, probabilities) as Tensor)[0]).toBeCloseTo(explicit, 8);
      expect(all).toHaveLength(countArchitectures(space));
    });
  });
}

/** NaN wherever the network has no part of the tensor. */
function poison(tensor: Tensor, space: Space, name: string, architecture: Architecture): Tensor {
  const spec = space.parameters[name];
  const ranges = chosenRanges(spec, architecture);
  const absent = spec.when !== undefined && architecture[spec.when.decision.name] < spec.when.atLeast;
  const values = toFloat64(tensor).map((value, i) => {
    let rest = i;
    let inside = !absent;
    for (let axis = tensor.shape.length - 1; axis >= 0; axis--) {
      const at = rest % tensor.shape[axis];
      rest = Math.floor(rest / tensor.shape[axis]);
      if (at < ranges[axis].start || at >= ranges[axis].end) inside = false;
    }
    return inside ? value : Number.NaN;
  });
  return fromFloat64(values, tensor.shape, "float64");
}

/** Operators of the mixture's forward graph, counted. */
export function operatorsOf({ space, model, inputs }: Example): Record<string, number> {
  const p = Object.fromEntries(
    Object.values(space.decisions).map(({ name, choices }) => [name, input(`p/${name}`, "float32", [choices.length])]),
  );
  const outputs = model(mixtureNetwork(space, drawnWeights(space, "float32"), p), inputs);
  const { graph } = assemble({ name: "mixture", inputs: [...Object.values(inputs), ...Object.values(p)], outputs });
  const counts: Record<string, number> = {};
  for (const { op } of graph.nodes) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
}
