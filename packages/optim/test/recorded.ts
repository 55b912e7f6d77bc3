import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Optimizer } from "@loomweight/graph/training";
import { cast, fromData, type Tensor, toFloat64 } from "@loomweight/tensor";
import {
  adabelief,
  adadelta,
  adafactor,
  adagrad,
  adam,
  adamax,
  adamp,
  adamw,
  adan,
  adopt,
  asgd,
  chain,
  clipByGlobalNorm,
  lamb,
  laprop,
  lars,
  lion,
  madgrad,
  mars,
  maximize,
  muon,
  nadam,
  nadamw,
  novograd,
  radam,
  rmsprop,
  rprop,
  sgd,
  sgdp,
} from "../src/index.ts";

/** A recorded run of 50 steps. */
export interface Trace {
  readonly name: string;
  readonly library: string;
  readonly class: string;
  readonly options: RecordedOptions;
  readonly parameters: readonly string[];
  readonly recordedSteps: readonly number[];
  /** Step → parameter → tensor. */
  readonly tensors: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** How far float32 rounding alone moves the library's own run, by step. */
  readonly float32VersusFloat64?: Readonly<Record<string, number>>;
}

/** Options as torch, timm and optax spell them. */
// biome-ignore lint/suspicious/noExplicitAny: recorded keyword arguments of many classes
export type RecordedOptions = Readonly<Record<string, any>>;

export interface RecordedTraces {
  readonly traces: readonly Trace[];
  tensor(name: string): Tensor;
}

/** The recorded traces; undefined where the area is absent. */
export function recordedTraces(): RecordedTraces | undefined {
  const folder = fixtureArea("optim");
  if (folder === undefined) return undefined;
  const { traces, file } = readFixtureJson<{ traces: Trace[]; file: string }>(join(folder, "traces.json"));
  const tensors = readFixtureTensors(join(folder, file));
  return {
    traces,
    tensor(name) {
      const found = tensors.get(name);
      if (found === undefined) throw new Error(`traces have no tensor ${name}`);
      return found;
    },
  };
}

/** The parameters a trace starts from, as float32 or float64. */
export function initialOf({ tensor }: RecordedTraces, trace: Trace, dtype: "float32" | "float64") {
  return Object.fromEntries(trace.parameters.map((name) => [name, cast(tensor(`initial/${name}`), dtype)]));
}

/** The gradients of step `step` (from 1). */
export function gradientsOf(
  { tensor }: RecordedTraces,
  trace: Trace,
  step: number,
  dtype: "float32" | "float64",
): Record<string, Tensor> {
  return Object.fromEntries(
    trace.parameters.map((name) => [name, rowOf(tensor(`gradients/${name}`), step - 1, dtype)]),
  );
}

/** Entry `index` along the first axis. */
export function rowOf(stack: Tensor, index: number, dtype: "float32" | "float64"): Tensor {
  const shape = stack.shape.slice(1);
  const size = shape.reduce((product, each) => product * each, 1);
  const values = toFloat64(stack).slice(index * size, (index + 1) * size);
  return fromData(dtype, dtype === "float64" ? values : Float32Array.from(values), shape);
}

/** Largest difference a trace may have at a step, relative to max(1, |p|) where it is the floor. */
export function toleranceOf(trace: Trace, step: number): { absolute: number; relative: number } {
  if (trace.name.startsWith("muon_bf16")) return { absolute: 0.3 * trace.options.lr, relative: 0 };
  if (trace.library === "optax") return { absolute: 5e-6, relative: 0 };
  return { absolute: 4 * (trace.float32VersusFloat64?.[step] ?? 0), relative: 2e-7 };
}

/** Options with the recorded names in the second list under ours in the first, where they were given. */
function renamed(options: RecordedOptions, names: Readonly<Record<string, string>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([ours, theirs]) => (options[theirs] === undefined ? [] : [[ours, options[theirs]]])),
  );
}

const common = { epsilon: "eps", weightDecay: "weight_decay" };

function betas(options: RecordedOptions): Record<string, number> {
  const list: readonly number[] = options.betas ?? [];
  return Object.fromEntries(list.map((beta, i) => [`beta${i + 1}`, beta]));
}

function withBetas(options: RecordedOptions, names: Readonly<Record<string, string>> = {}): Record<string, unknown> {
  return { ...betas(options), ...renamed(options, { ...common, ...names }) };
}

const sgdNames = { momentum: "momentum", dampening: "dampening", nesterov: "nesterov", weightDecay: "weight_decay" };
const optaxNames = { beta1: "b1", beta2: "b2", epsilon: "eps", rootEpsilon: "eps_root", weightDecay: "weight_decay" };
const projected = { delta: "delta", decayRatio: "wd_ratio", nesterov: "nesterov" };
const trust = { trustClip: "trust_clip", alwaysAdapt: "always_adapt" };

/** Learning rate where the recorded options leave it to the library. */
const defaultRates: Readonly<Record<string, number>> = { "torch.Adadelta": 1, "torch.Adafactor": 1e-2 };

type Make = (options: RecordedOptions) => Optimizer;

function torchSgd(options: RecordedOptions): Optimizer {
  const optimizer = sgd(renamed(options, sgdNames));
  return options.maximize ? chain(maximize(), optimizer) : optimizer;
}

function torchMuon(options: RecordedOptions): Optimizer {
  const scale = options.adjust_lr_fn === "match_rms_adamw" ? "adamw-rms" : "original";
  return muon({ ...renamed(options, { ...sgdNames }), scale });
}

function timmLamb(options: RecordedOptions): Optimizer {
  const optimizer = lamb(withBetas(options, { ...trust, biasCorrection: "bias_correction" }));
  return options.max_grad_norm === null ? optimizer : chain(clipByGlobalNorm(1, { epsilon: 0 }), optimizer);
}

const makers: Readonly<Record<string, Make>> = {
  "torch.SGD": torchSgd,
  "torch.Adam": (o) => adam(withBetas(o, { amsgrad: "amsgrad" })),
  "torch.AdamW": (o) => adamw(withBetas(o, { amsgrad: "amsgrad" })),
  "torch.RMSprop": (o) =>
    rmsprop(renamed(o, { ...common, alpha: "alpha", momentum: "momentum", centered: "centered" })),
  "torch.Adagrad": (o) =>
    adagrad(renamed(o, { ...common, learningRateDecay: "lr_decay", initialAccumulator: "initial_accumulator_value" })),
  "torch.Adadelta": (o) => adadelta(renamed(o, { ...common, rho: "rho" })),
  "torch.Adamax": (o) => adamax(withBetas(o)),
  "torch.NAdam": (o) => nadam(withBetas(o, { momentumDecay: "momentum_decay", decoupled: "decoupled_weight_decay" })),
  "torch.RAdam": (o) => radam(withBetas(o, { decoupled: "decoupled_weight_decay" })),
  "torch.Adafactor": (o) =>
    adafactor({
      variant: "torch",
      ...renamed(o, { clipThreshold: "d", weightDecay: "weight_decay" }),
      ...(o.beta2_decay !== undefined && { decay: -o.beta2_decay }),
      ...(o.eps !== undefined && { epsilon: o.eps[0], scaleEpsilon: o.eps[1] }),
    }),
  "torch.Rprop": (o) =>
    rprop({
      ...(o.etas && { etaMinus: o.etas[0], etaPlus: o.etas[1] }),
      ...(o.step_sizes && { smallestStep: o.step_sizes[0], largestStep: o.step_sizes[1] }),
    }),
  "torch.ASGD": (o) => asgd(renamed(o, { lambda: "lambd", alpha: "alpha", start: "t0", weightDecay: "weight_decay" })),
  "torch.Muon": torchMuon,
  "reference.Muon": torchMuon,
  "timm.AdamP": (o) => adamp(withBetas(o, projected)),
  "timm.SGDP": (o) => sgdp({ projectBuffer: false, ...renamed(o, { ...sgdNames, ...projected }) }),
  "timm.Lion": (o) => lion({ ...betas(o), ...renamed(o, { weightDecay: "weight_decay", caution: "caution" }) }),
  "timm.Lamb": timmLamb,
  "timm.MADGRAD": (o) => madgrad(renamed(o, { ...common, momentum: "momentum", decoupled: "decoupled_decay" })),
  "timm.Adan": (o) => adan({ ...withBetas(o), ...(o.no_prox && { proximal: false }) }),
  "timm.NAdamW": (o) => nadamw(withBetas(o)),
  "timm.Lars": (o) => lars(renamed(o, { ...sgdNames, ...trust, trustCoefficient: "trust_coeff" })),
  "timm.AdaBelief": (o) => adabelief(withBetas(o, { rectify: "rectify" })),
  "timm.LaProp": (o) => laprop(withBetas(o)),
  "timm.Adopt": (o) =>
    adopt({ ...withBetas(o, { decoupled: "decoupled" }), ...(o.clip_exp === null && { clipPower: 0 }) }),
  "timm.RMSpropTF": (o) =>
    rmsprop({
      variant: "tensorflow",
      alpha: 0.9,
      epsilon: 1e-10,
      ...renamed(o, { ...common, alpha: "alpha", momentum: "momentum" }),
    }),
  "timm.Mars": (o) => mars(withBetas(o)),
  "timm.Adafactor": (o) =>
    adafactor({
      variant: "timm",
      relativeStep: o.lr === undefined,
      ...(o.betas && { momentum: o.betas[0] }),
      ...renamed(o, { weightDecay: "weight_decay", scaleParameter: "scale_parameter" }),
    }),
  "optax.sgd": (o) => sgd(renamed(o, sgdNames)),
  "optax.adam": (o) => adam(renamed(o, { ...optaxNames, nesterov: "nesterov" })),
  "optax.adamw": (o) => adamw(renamed(o, { beta1: "b1", beta2: "b2", epsilon: "eps", weightDecay: "weight_decay" })),
  "optax.lion": (o) =>
    lion({ weightDecay: 1e-3, ...renamed(o, { beta1: "b1", beta2: "b2", weightDecay: "weight_decay" }) }),
  "optax.adafactor": (o) =>
    adafactor({
      variant: "optax",
      ...renamed(o, {
        smallestFactored: "min_dim_size_to_factor",
        scaleParameter: "multiply_by_parameter_scale",
        momentum: "momentum",
        weightDecay: "weight_decay_rate",
      }),
      ...(o.clipping_threshold === null && { clipThreshold: 0 }),
    }),
  "optax.novograd": (o) => novograd(renamed(o, optaxNames)),
};

/** The optimizer and learning rate of a recorded class; undefined where this package has none. */
export function optimizerOf(
  kind: string,
  options: RecordedOptions,
): { readonly optimizer: Optimizer; readonly learningRate: number } | undefined {
  const make = makers[kind];
  if (make === undefined) return undefined;
  const learningRate = options.lr ?? options.learning_rate ?? defaultRates[kind] ?? 1;
  return { optimizer: make(options), learningRate };
}
