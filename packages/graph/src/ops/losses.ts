import { int, intOf, text, textOf } from "../attributes.ts";
import { stopGradient } from "../gradient/stop.ts";
import { apply, applyOne, defineOps, type OpCall, ruleOf, type ValueType } from "../op.ts";
import type { Attributes, Dim, Value } from "../value.ts";
import { byParts, type DecomposedCall, type Decomposition } from "./decompose.ts";
import { div, exp, log, mul, neg, sub } from "./elementwise.ts";
import { gather, gatherElements } from "./indexing.ts";
import { cast, equal, where } from "./logic.ts";
import { reduceMax, reduceMean, reduceSum } from "./reduce.ts";
import { badShape, inputOf, requireFloat } from "./same-dtype.ts";
import { requireIndices, squeeze, unsqueeze } from "./shape.ts";

/** Loss of each label [batch, …] under log probabilities [batch, classes, …], weighted, ignored and reduced. */
function likelihoodLoss(call: DecomposedCall, logProbabilities: Value): Value {
  const [, labels, weight] = call.inputs as [Value, Value, Value | undefined];
  const ignored = intOf(call, "ignore_index", undefined);
  const reduction = textOf(call, "reduction", "mean");
  const { dtype } = logProbabilities;
  const skip = ignored === undefined ? undefined : equal(labels, ignored);
  const places = skip === undefined ? labels : where(skip, 0, labels);
  const picked = squeeze(gatherElements(logProbabilities, unsqueeze(places, [1]), 1), [1]);
  const losses = neg(picked);
  if (weight === undefined && skip === undefined) {
    return reduction === "none"
      ? losses
      : reduction === "sum"
        ? reduceSum(losses, undefined, false)
        : reduceMean(losses, undefined, false);
  }
  const own = weight === undefined ? undefined : gather(weight, places);
  const factors =
    skip === undefined ? (own as Value) : own === undefined ? sub(1, cast(skip, dtype)) : where(skip, 0, own);
  const weighted =
    skip === undefined || own === undefined ? mul(losses, factors) : mul(where(skip, 0, losses), factors);
  if (reduction === "none") return weighted;
  const total = reduceSum(weighted, undefined, false);
  return reduction === "sum" ? total : div(total, reduceSum(factors, undefined, false));
}

/** x − max − log Σ e^(x − max) along the classes */
function logProbabilities(x: Value): Value {
  const shifted = sub(x, stopGradient(reduceMax(x, [1])));
  return sub(shifted, log(reduceSum(exp(shifted), [1])));
}

export const likelihoodLossByParts: Decomposition = (call) => [likelihoodLoss(call, call.inputs[0] as Value)];

export const softmaxLossByParts: Decomposition = (call) => {
  const logs = logProbabilities(call.inputs[0] as Value);
  return [likelihoodLoss(call, logs), logs];
};

function lossType(call: OpCall): ValueType {
  requireFloat(call, 0);
  const { dtype, shape } = inputOf(call, 0);
  const labels = requireIndices(call, 1).shape;
  const expected = [shape[0], ...shape.slice(2)];
  const clash = (a: Dim, b: Dim) => typeof a === "number" && typeof b === "number" && a !== b;
  if (
    shape.length < 2 ||
    labels.length !== expected.length ||
    labels.some((size, axis) => clash(size, expected[axis]))
  ) {
    throw badShape(
      call,
      `labels [${labels}] do not fit scores [${shape}]`,
      "Scores are [batch, classes, …], labels [batch, …].",
    );
  }
  const weight = call.inputs[2]?.shape;
  if (weight !== undefined && (weight.length !== 1 || clash(weight[0], shape[1]))) {
    throw badShape(call, `weights [${weight}] are not one per class of [${shape}]`);
  }
  const reduction = textOf(call, "reduction", "mean");
  if (!["none", "sum", "mean"].includes(reduction)) throw badShape(call, `there is no reduction "${reduction}"`);
  return { dtype, shape: reduction === "none" ? labels : [] };
}

const labels = { shape: [2], dtype: "int64", values: [2, 0] } as const;

/** Losses of ONNX. Neither has a WebGPU kernel; their gradients do not need one. */
export const lossOps = /* @__PURE__ */ defineOps({
  NegativeLogLikelihoodLoss: {
    inputs: [2, 3],
    infer: (call) => [lossType(call)],
    evaluate: byParts(likelihoodLossByParts),
    samples: [
      { inputs: [[2, 3], labels], constants: [] },
      {
        inputs: [[2, 3], labels, { shape: [3], low: 0.5, high: 2 }],
        attributes: { reduction: text("sum") },
        constants: [],
      },
    ],
  },
  SoftmaxCrossEntropyLoss: {
    inputs: [2, 3],
    infer(call) {
      const { dtype, shape } = inputOf(call, 0);
      return [lossType(call), { dtype, shape }].slice(0, Math.max(1, call.outputs));
    },
    evaluate: byParts(softmaxLossByParts),
    samples: [
      { inputs: [[2, 3], labels], outputs: 2, constants: [] },
      {
        inputs: [
          [2, 3, 2],
          { shape: [2, 2], dtype: "int64", values: [2, 0, -1, 1] },
          { shape: [3], low: 0.5, high: 2 },
        ],
        attributes: { ignore_index: int(-1), reduction: text("none") },
        constants: [],
      },
    ],
  },
});

export interface LossOptions {
  /** One weight per class. */
  readonly weight?: Value;
  /** Labels of this value count nothing. */
  readonly ignoreIndex?: number;
  /** Default "mean": divided by the weights of the labels that count. */
  readonly reduction?: "mean" | "sum" | "none";
}

const lossAttributes = ({ ignoreIndex, reduction }: LossOptions): Attributes => ({
  ...(ignoreIndex === undefined ? {} : { ignore_index: int(ignoreIndex) }),
  ...(reduction === undefined ? {} : { reduction: text(reduction) }),
});

/** Cross entropy of scores [batch, classes, …] and labels [batch, …], as one operator. No WebGPU kernel. */
export function softmaxCrossEntropyLoss(
  scores: Value,
  labels: Value,
  options: LossOptions = {},
): { loss: Value; logProbabilities: Value } {
  const [loss, logs] = apply(ruleOf(lossOps, "SoftmaxCrossEntropyLoss"), [scores, labels, options.weight], {
    attributes: lossAttributes(options),
    outputs: 2,
  });
  return { loss, logProbabilities: logs };
}

/** −log probability of the labels [batch, …] from log probabilities [batch, classes, …]. No WebGPU kernel. */
export function negativeLogLikelihoodLoss(logProbabilities: Value, labels: Value, options: LossOptions = {}): Value {
  const operands = [logProbabilities, labels, options.weight];
  return applyOne(ruleOf(lossOps, "NegativeLogLikelihoodLoss"), operands, lossAttributes(options));
}
