import {
  add,
  greater,
  mul,
  reduceMean,
  relu,
  sigmoid,
  stopGradient,
  sub,
  transpose,
  unsqueeze,
  type Value,
  where,
} from "@loomweight/graph";
import {
  boolean,
  choice,
  fromData,
  full,
  invalidOption,
  LoomweightError,
  type OptionValues,
  positive,
  type Tensor,
  toFloat64,
  zeros,
} from "@loomweight/tensor";
import { type BlockInitContext, defineBlockAdapter } from "../define-block.ts";

const options = {
  sharpness: positive(10, "s of the gate σ(s · (z − tau)); its meaning depends on the spread of z"),
  hard: boolean(false, "the gate of inference: open where z > tau, else shut"),
  straightThrough: boolean(false, "compute with the hard gate, differentiate the smooth one"),
  gain: choice(["free", "nonNegative"], "free", "whether gamma may become negative; nonNegative clamps it at 0"),
  init: choice(
    ["match", "open", "quantile"],
    "match",
    "tau: 0, which is the base for ReLU; below all z of calibration data; or a quantile of them (starts sparse)",
  ),
};
/** Options of `tauGate`, checked. */
export type TauGateOptions = OptionValues<typeof options>;

/** Thresholds and gains of one layer, both [hidden]. */
export interface TauGateParams<V extends Value = Value> {
  readonly tau: V;
  readonly gamma: V;
}

/**
 * TauGate (Dopamine): each hidden neuron of a frozen layer gets a threshold and a gain: h = gamma ⊙ gate(z) ⊙ φ(z), z the
 * pre-activation [.., hidden]. A site is the activation: input z, output φ(z). Training: gate = σ(s · (z − tau)); inference
 * (`hard`): 1 where z > tau, strictly. Never on the output layer.
 * Source: Ghasemlou 2026, arXiv:2602.11726: abstract and gate only, no public code; everything else is a reconstruction
 * (gate behind φ, start at tau 0 and gamma 1, one fixed sharpness).
 */
export const tauGate = defineBlockAdapter({
  name: "taugate",
  source: "arXiv:2602.11726",
  scope: "block",
  options,
  params: ({ in: width, out, path }): Record<"tau" | "gamma", readonly number[]> => {
    if (width === out) return { tau: [out], gamma: [out] };
    throw invalidOption(
      { option: "taugate.targets" },
      path,
      `activations, as wide at the end as at the start, not ${width} to ${out}`,
    );
  },
  init: ({ out, path }, given, context) => ({
    tau: firstThresholds(out, path, given, context),
    gamma: full([out], 1),
  }),
  apply: ({ input: z, output }, params, { sharpness, hard, straightThrough, gain }) => {
    const { tau } = params;
    const gamma = gain === "nonNegative" ? relu(params.gamma) : params.gamma;
    if (hard) return where(greater(z, tau), mul(output, gamma), 0);
    const soft = softGate(z, tau, sharpness);
    const gate = straightThrough ? add(soft, stopGradient(sub(hardGate(z, tau), soft))) : soft;
    return mul(mul(gamma, gate), output);
  },
});

/** σ(s · (z − tau)), [.., hidden]. */
export function softGate(z: Value, tau: Value, sharpness: number): Value {
  return sigmoid(mul(sub(z, tau), sharpness));
}

/** 1 where z > tau, strictly, else 0, in z's dtype. */
export function hardGate(z: Value, tau: Value): Value {
  return where(greater(z, tau), full([], 1, z.dtype), full([], 0, z.dtype));
}

function firstThresholds(
  hidden: number,
  path: string,
  { init, sharpness }: TauGateOptions,
  context: BlockInitContext,
): Tensor {
  if (init === "match") return zeros([hidden]);
  const name = init === "open" ? "minimum" : "quantile";
  const found = context.statistics?.[name];
  if (found === undefined || found.shape.length !== 1 || found.shape[0] !== hidden) {
    throw new LoomweightError({
      code: "MISSING_OPTION",
      problem: `taugate: init "${init}" starts from the ${name} of each neuron's z at "${path}" over calibration data`,
      option: "init statistics",
      expected: `${name} [${hidden}]`,
      found: found === undefined ? "nothing" : `[${found.shape}]`,
    });
  }
  // 6 / s below the least z every gate is at least 0.9975 open.
  const below = init === "open" ? 6 / sharpness : 0;
  return fromData(
    "float32",
    Float32Array.from(toFloat64(found), (value) => value - below),
    [hidden],
  );
}

/**
 * Statistics for `init`, of z [samples, hidden]: `minimum` and the `quantile` at q (linear between neighbours), [hidden].
 */
export function gateStatistics(z: Tensor, q = 0.5): { minimum: Tensor; quantile: Tensor } {
  const [samples, hidden] = z.shape;
  const values = toFloat64(z);
  const [minimum, quantile] = [new Float64Array(hidden), new Float64Array(hidden)];
  for (let i = 0; i < hidden; i++) {
    const column = Float64Array.from({ length: samples }, (_, n) => values[n * hidden + i]).sort();
    const at = q * (samples - 1);
    const low = Math.floor(at);
    minimum[i] = column[0];
    quantile[i] = column[low] + (at - low) * ((column[low + 1] ?? column[low]) - column[low]);
  }
  return { minimum: fromData("float64", minimum, [hidden]), quantile: fromData("float64", quantile, [hidden]) };
}

/** Mean over layers of the mean gate over samples and neurons: what a penalty on open gates is multiplied with. */
export function gatePenalty(gates: readonly Value[]): Value {
  const means = gates.map((gate) => reduceMean(gate, undefined, false));
  return mul(
    means.reduce((sum, mean) => add(sum, mean)),
    1 / gates.length,
  );
}

/** s_t = from · (to / from)^(t / T): closes the gap between soft and hard gate along a training. */
export function sharpnessAt(
  step: number,
  steps: number,
  { from, to }: { readonly from: number; readonly to: number },
): number {
  return from * (to / from) ** (step / steps);
}

/** Share of samples at which each neuron takes part, [hidden]: z [samples, hidden], z > tau. */
export function participation(z: Value, tau: Value): Value {
  return reduceMean(hardGate(z, tau), [0], false);
}

/** What each neuron adds to each logit: h [samples, hidden], W [classes, hidden] → [samples, classes, hidden]. With the bias they sum to the logits. */
export function neuronContributions(h: Value, weight: Value): Value {
  return mul(unsqueeze(h, [1]), weight);
}

/** Gains moved into the layer that reads the neurons: W′ = W · diag(gamma), [out, hidden]. Fold into each reader. */
export function foldGains<V extends Value>(next: V, gamma: V): V {
  return mul(next, gamma) as V;
}

/** Neurons that never fire on data whose largest z is `largest` [hidden]: tau at or above it, or a gain of 0. */
export function silentNeurons({ tau, gamma }: TauGateParams<Tensor>, largest: Tensor): boolean[] {
  const [t, g, most] = [tau, gamma, largest].map((each) => toFloat64(each));
  return Array.from(t, (value, i) => value >= most[i] || g[i] === 0);
}

/** Rows of a matrix or vector [hidden, …] that are kept. */
export function keepRows(tensor: Tensor, dropped: readonly boolean[]): Tensor {
  const width = tensor.shape.slice(1).reduce((product, size) => product * size, 1);
  const values = toFloat64(tensor);
  const kept = dropped.flatMap((each, i) => (each ? [] : [i]));
  const out = new Float64Array(kept.length * width);
  kept.forEach((row, i) => {
    out.set(values.subarray(row * width, (row + 1) * width), i * width);
  });
  const array =
    tensor.dtype === "float64"
      ? fromData("float64", out, [kept.length, ...tensor.shape.slice(1)])
      : fromData("float32", Float32Array.from(out), [kept.length, ...tensor.shape.slice(1)]);
  return array;
}

/**
 * The layers around a gate without the silent neurons: rows of W [hidden, in], b, tau, gamma and columns of the next
 * weight [out, hidden] leave. Exact on the data that `largest` was taken of, not beyond.
 */
export function pruneSilent(
  layer: { readonly weight: Tensor; readonly bias: Tensor; readonly next: Tensor } & TauGateParams<Tensor>,
  largest: Tensor,
): { weight: Tensor; bias: Tensor; next: Tensor; tau: Tensor; gamma: Tensor; dropped: readonly boolean[] } {
  const dropped = silentNeurons(layer, largest);
  const rows = (tensor: Tensor) => keepRows(tensor, dropped);
  return {
    weight: rows(layer.weight),
    bias: rows(layer.bias),
    tau: rows(layer.tau),
    gamma: rows(layer.gamma),
    next: transpose(rows(transpose(layer.next, [1, 0])), [1, 0]) as Tensor,
    dropped,
  };
}

/** A mode between two: tau linearly, gamma geometrically where both gains are above 0, else linearly; share 0 gives a, 1 gives b. */
export function interpolateModes(
  a: TauGateParams<Tensor>,
  b: TauGateParams<Tensor>,
  share: number,
): TauGateParams<Tensor> {
  const mix = (from: Tensor, to: Tensor, between: (x: number, y: number) => number) => {
    const [x, y] = [toFloat64(from), toFloat64(to)];
    return fromData(
      "float32",
      Float32Array.from(x, (value, i) => between(value, y[i])),
      from.shape,
    );
  };
  const linear = (x: number, y: number) => (1 - share) * x + share * y;
  return {
    tau: mix(a.tau, b.tau, linear),
    gamma: mix(a.gamma, b.gamma, (x, y) => (x > 0 && y > 0 ? x ** (1 - share) * y ** share : linear(x, y))),
  };
}

/** One neuron in two modes. */
export interface NeuronDifference {
  readonly neuron: number;
  /** gamma in b less that in a. */
  readonly gain: number;
  /** Participation in b less that in a. */
  readonly participation: number;
}

/** Neurons by how much they differ between two modes, most first: |Δ gamma| + |Δ participation|. z [samples, hidden]. */
export function diffModes(a: TauGateParams<Tensor>, b: TauGateParams<Tensor>, z: Tensor): NeuronDifference[] {
  const [ga, gb] = [toFloat64(a.gamma), toFloat64(b.gamma)];
  const [pa, pb] = [a, b].map(({ tau }) => toFloat64(participation(z, castLike(tau, z)) as Tensor));
  return Array.from(ga, (gain, neuron) => ({
    neuron,
    gain: gb[neuron] - gain,
    participation: pb[neuron] - pa[neuron],
  })).sort((x, y) => Math.abs(y.gain) + Math.abs(y.participation) - Math.abs(x.gain) - Math.abs(x.participation));
}

function castLike(tensor: Tensor, like: Tensor): Tensor {
  if (tensor.dtype === like.dtype) return tensor;
  return like.dtype === "float64"
    ? fromData("float64", toFloat64(tensor), tensor.shape)
    : fromData("float32", Float32Array.from(toFloat64(tensor)), tensor.shape);
}
