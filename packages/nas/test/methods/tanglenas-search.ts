import type { MethodCase } from "@loomweight/fixtures";
import { evaluateTrace, input, reduceMean, relu, stateValue, type Value } from "@loomweight/graph";
import { convolution, crossEntropy, linear } from "@loomweight/graph/nn";
import type { Optimizer } from "@loomweight/graph/training";
import { adam, sgd } from "@loomweight/optim";
import { fromFloat64, slice, type Tensor } from "@loomweight/tensor";
import { expect } from "vitest";
import {
  type Architecture,
  choice,
  chosenNetwork,
  convolutionSpace,
  defineSpace,
  extract,
  linearSpace,
  type Network,
  type Sampler,
} from "../../src/index.ts";
import { drawInputsOf, drawName, type ForwardDesign } from "../../src/search/forward.ts";
import { secondOrderStep } from "../../src/search/second-order.ts";
import { architectureStep, type OptimizerValues, type StepValues, weightStep } from "../../src/search/steps.ts";
import { expectRecorded, numbers, recordedDraw, recordedSampler } from "./tanglenas-recorded.ts";

interface OptimizerEntry {
  readonly kind: "adam" | "sgd";
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly weightDecay: number;
  readonly momentum: number;
  readonly nesterov: boolean;
}

interface SearchEntry {
  readonly optimizer: string;
  readonly channels1: readonly number[];
  readonly channels2: readonly number[];
  readonly kernels: readonly number[];
  readonly steps: number;
  readonly archOptimizer: OptimizerEntry;
  readonly weightOptimizer: OptimizerEntry;
  readonly clipNorm: number;
  readonly chosen: { readonly channels: readonly number[]; readonly kernels: readonly number[] };
}

type Tensors = Record<string, Tensor>;

function optimizerOf({ kind, betas, weightDecay, momentum, nesterov }: OptimizerEntry): Optimizer {
  if (kind === "adam") return adam({ beta1: betas[0], beta2: betas[1], weightDecay });
  return sgd({ momentum, nesterov, weightDecay });
}

/** An optimizer with its tensors. */
class Kept {
  readonly optimizer: Optimizer;
  readonly rate: number;
  readonly prefix: string;
  state: Tensors;
  constructor(entry: OptimizerEntry, prefix: string, parameters: Tensors) {
    this.optimizer = optimizerOf(entry);
    this.rate = entry.lr;
    this.prefix = prefix;
    this.state = { ...this.optimizer.init(parameters) };
  }
  values(): OptimizerValues {
    const scalars = Object.keys(this.optimizer.scalars(1, this.rate));
    return {
      optimizer: this.optimizer,
      state: valuesOf(this.state, this.prefix),
      scalars: Object.fromEntries(scalars.map((name) => [name, input(`${this.prefix}${name}`, "float64", [])])),
    };
  }
  feeds(step: number): Tensors {
    return {
      ...prefixed(this.state, this.prefix),
      ...Object.fromEntries(
        Object.entries(this.optimizer.scalars(step, this.rate)).map(([name, value]) => [
          `${this.prefix}${name}`,
          scalar(value),
        ]),
      ),
    };
  }
}

const scalar = (value: number) => fromFloat64(Float64Array.of(value), [], "float64");
const prefixed = (tensors: Tensors, prefix: string): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`${prefix}${name}`, tensor]));
const valuesOf = (tensors: Tensors, prefix = ""): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape }]) => [name, stateValue(`${prefix}${name}`, dtype, shape)]),
  );

/** Row `i` of a matrix. */
const row = (matrix: Tensor, i: number): Tensor =>
  fromFloat64(Float64Array.from(numbers(slice(matrix, [{ start: i, end: i + 1 }]))), [matrix.shape[1]], "float64");

/** The recorded search network: three convolutions, a mean over pixels, a linear head. */
function searchSpace(entry: SearchEntry, recorded: MethodCase) {
  const c1 = choice("channels.0", entry.channels1);
  const c2 = choice("channels.1", entry.channels2);
  const [k1, k2] = [0, 1].map((i) => choice(`kernels.${i}`, entry.kernels));
  const [last] = recorded.tensor("init.c3.op.weight").shape;
  const [classes] = recorded.tensor("init.head.weight").shape;
  const space = defineSpace({
    ...convolutionSpace("c1.op", { inputs: 1, outputs: c1, kernel: k1 }),
    ...convolutionSpace("c2.op", { inputs: c1, outputs: c2, kernel: k2 }),
    ...convolutionSpace("c3.op", { inputs: c2, outputs: last, kernel: 3 }),
    ...linearSpace("head", { inputs: last, outputs: classes }),
  });
  const logits = ({ weights, size }: Network, x: Value): Value => {
    let h = relu(convolution(weights, "c1.op", x, { padding: (size(k1) - 1) / 2 }));
    h = relu(convolution(weights, "c2.op", h, { padding: (size(k2) - 1) / 2, stride: 2 }));
    h = relu(convolution(weights, "c3.op", h, { padding: 1 }));
    return linear(weights, "head", reduceMean(h, [2, 3], false));
  };
  return { space, logits };
}

const alphaNames = ["channels.0", "channels.1", "kernels.0", "kernels.1"];
const at = (name: string) => name.split(".") as [string, string];

export function replaySearch(recorded: MethodCase): void {
  const entry = recorded.entry as unknown as SearchEntry;
  const { tensor, tensors } = recorded;
  const second = entry.optimizer === "darts_v2";
  // The README's tolerance; finite differences carry less.
  const [near, far] = second ? [1e-6, 1e-6] : [1e-10, 1e-8];
  const { space, logits } = searchSpace(entry, recorded);
  const sampler = recordedSampler(entry.optimizer);
  const design: ForwardDesign = {
    space,
    sampler,
    loss: (network, { x, target }) => crossEntropy(logits(network, x), target, { ignore: null }),
  };
  let weights: Tensors = Object.fromEntries(
    [...tensors.keys()].flatMap((name) =>
      /^init\.(?!arch)/.test(name) ? [[name.slice(5), tensor(name)] as const] : [],
    ),
  );
  let alphas: Tensors = Object.fromEntries(
    alphaNames.map((name) => [name, row(tensor(`init.arch_param_${at(name)[0]}`), Number(at(name)[1]))]),
  );
  const ofAlpha = new Kept(entry.archOptimizer, "architecture optimizer/", alphas);
  const ofWeights = new Kept(entry.weightOptimizer, "optimizer/", weights);
  for (let step = 0; step < entry.steps; step++) {
    const batch = (part: "arch" | "weight", prefix = "") => ({
      [`${prefix}x`]: tensor(`step${step}.${part}Input`),
      [`${prefix}target`]: tensor(`step${step}.${part}Target`),
    });
    /** What was drawn for a forward pass, and the network where one is computed alone. */
    const drawn = (part: "arch" | "weight") => {
      const feeds: Tensors = {};
      const architecture: Record<string, number> = {};
      for (const name of alphaNames) {
        const [kind, i] = at(name);
        const of = (what: string) => numbers(row(tensor(`step${step}.${part}.${what}.${kind}`), Number(i)));
        if (sampler.inputs.length === 0) continue;
        const noise =
          sampler.name === "gdas"
            ? { exponential: of("exponential"), tau: numbers(tensor(`step${step}.tau`))[0] }
            : undefined;
        for (const [key, values] of Object.entries(recordedDraw(sampler, numbers(alphas[name]), of("p"), noise)))
          feeds[drawName(name, key)] = fromFloat64(Float64Array.from(values), [values.length], "float64");
        if (sampler.hard) architecture[name] = space.decisions[name].choices[of("p").indexOf(1)];
      }
      return { feeds, architecture: sampler.hard ? architecture : undefined };
    };
    const run = (
      made: StepValues,
      feeds: Tensors,
      own: Tensors,
    ): { outputs: Tensors; next: Tensors; state: Tensors; gradients: Tensors } => {
      const results: Record<string, Value> = {};
      const parts = { outputs: made.outputs, next: made.parameters, state: made.state, gradients: made.gradients };
      for (const [part, values] of Object.entries(parts))
        for (const [name, value] of Object.entries(values)) results[`${part}:${name}`] = value;
      const found = evaluateTrace(results, { ...weights, ...prefixed(alphas, "alpha/"), ...feeds, ...own });
      const pick = (part: string) =>
        Object.fromEntries(
          Object.entries(found).flatMap(([name, value]) =>
            name.startsWith(`${part}:`) ? [[name.slice(part.length + 1), value]] : [],
          ),
        );
      return { outputs: pick("outputs"), next: pick("next"), state: pick("state"), gradients: pick("gradients") };
    };
    const call = (architecture?: Architecture) => {
      const [x, target] = [tensor(`step${step}.archInput`), tensor(`step${step}.archTarget`)];
      return {
        weights: valuesOf(weights),
        alphas: valuesOf(alphas, "alpha/"),
        batch: { x: input("x", x.dtype, x.shape), target: input("target", target.dtype, target.shape) },
        draws: drawInputsOf(design, "float64"),
        architecture,
      };
    };
    if (sampler.trains) {
      const { feeds, architecture } = drawn("arch");
      const given = call(architecture);
      const [x, target] = Object.values(batch("weight"));
      const made = second
        ? secondOrderStep(
            design,
            {
              ...given,
              weightBatch: {
                x: input("later x", x.dtype, x.shape),
                target: input("later target", target.dtype, target.shape),
              },
            },
            ofAlpha.values(),
            {
              rate: input("rate", "float64", []),
              momentum: entry.weightOptimizer.momentum,
              buffers: momentumBuffers(valuesOf(ofWeights.state, "optimizer/")),
              weightDecay: entry.weightOptimizer.weightDecay,
            },
          )
        : architectureStep(design, given, ofAlpha.values());
      const own = {
        ...ofAlpha.feeds(step + 1),
        ...(second && { rate: scalar(ofWeights.rate), ...prefixed(ofWeights.state, "optimizer/") }),
      };
      const found = run(made, { ...batch("arch"), ...(second && batch("weight", "later ")), ...feeds }, own);
      alphas = found.next;
      ofAlpha.state = found.state;
      expectRecorded(recorded, `step${step}.archLoss`, found.outputs.architectureLoss, step === 0 ? near : far);
      for (const kind of ["channels", "kernels"]) {
        const both = (values: Tensors) =>
          fromFloat64(Float64Array.from([0, 1].flatMap((i) => numbers(values[`${kind}.${i}`]))), [2, 2], "float64");
        expectRecorded(recorded, `step${step}.gradAlpha.${kind}`, both(found.gradients), step === 0 ? near : far);
        expectRecorded(recorded, `step${step}.alpha.${kind}`, both(alphas), step === 0 ? near : far);
      }
    }
    const { feeds, architecture } = drawn("weight");
    const made = weightStep({ ...design, clipNorm: entry.clipNorm }, call(architecture), ofWeights.values());
    const found = run(made, { ...batch("weight"), ...feeds }, ofWeights.feeds(step + 1));
    weights = found.next;
    ofWeights.state = found.state;
    expectRecorded(recorded, `step${step}.loss`, found.outputs.loss, far);
    expectRecorded(recorded, `step${step}.gradNorm`, found.outputs.gradientNorm, far);
    for (const [name, value] of Object.entries(weights)) {
      if (tensors.has(`step${step}.after.${name}`)) expectRecorded(recorded, `step${step}.after.${name}`, value, far);
    }
  }
  expectChosen(recorded, entry, sampler, alphas, weights, { space, logits }, far);
}

function momentumBuffers(state: Readonly<Record<string, Value>>): Record<string, Value> {
  const prefix = "momentum_buffer/";
  return Object.fromEntries(
    Object.entries(state).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
    ),
  );
}

/** The choice, the weights cut from the largest network, and its outputs on the last batch. */
function expectChosen(
  recorded: MethodCase,
  entry: SearchEntry,
  sampler: Sampler,
  alphas: Tensors,
  weights: Tensors,
  { space, logits }: ReturnType<typeof searchSpace>,
  tolerance: number,
): void {
  const architecture = Object.fromEntries(
    alphaNames.map((name) => {
      const [kind, i] = at(name) as ["channels" | "kernels", string];
      const alpha = numbers(alphas[name]);
      const chosen = space.decisions[name].choices[alpha.indexOf(Math.max(...alpha))];
      if (sampler.trains) expect(chosen, name).toBe(entry.chosen[kind][Number(i)]);
      return [name, entry.chosen[kind][Number(i)]];
    }),
  );
  const own = extract(space, weights, architecture);
  const recordedName: Record<string, string> = { "c1.op": "conv1", "c2.op": "conv2", "c3.op": "conv3", head: "head" };
  let compared = 0;
  for (const [name, value] of Object.entries(own)) {
    const [layer, part] = [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf("."))];
    const key = `sub.${recordedName[layer]}${part}`;
    if (!recorded.tensors.has(key)) continue;
    expectRecorded(recorded, key, value, tolerance);
    compared++;
  }
  expect(compared).toBeGreaterThan(5);
  const x = recorded.tensor(`step${entry.steps - 1}.weightInput`);
  for (const given of [own, weights]) {
    const found = logits(chosenNetwork(space, given, architecture), x) as Tensor;
    for (const mode of ["selected", "superposed"]) expectRecorded(recorded, `sub.logits.${mode}`, found, tolerance);
  }
}
