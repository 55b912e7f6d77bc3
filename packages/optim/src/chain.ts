import type { Value } from "@loomweight/graph";
import type { Optimizer, OptimizerCall } from "@loomweight/graph/training";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { joined, numbered } from "./parts.ts";
import type { GradientTransform, ParameterTransform } from "./transform.ts";

/** A part of a chain. */
export type ChainPart = GradientTransform | Optimizer | ParameterTransform;

/**
 * One optimizer from several parts in order: gradient transforms, exactly one optimizer, parameter transforms:
 * `chain(clipByGlobalNorm(1), adamw(), ema({ decay: 0.999 }))`. Throws `INVALID_CHAIN` for another order,
 * `DUPLICATE_NAME` where two parts keep state under one name.
 */
export function chain(...parts: readonly ChainPart[]): Optimizer {
  const at = parts.findIndex((part) => "update" in part);
  const before = parts.slice(0, Math.max(0, at)).filter((part) => "transform" in part);
  const after = parts.slice(at + 1).filter((part) => "after" in part);
  const optimizer = parts[at];
  if (optimizer === undefined || !("update" in optimizer) || before.length + 1 + after.length !== parts.length) {
    throw invalidChain(parts);
  }
  const names = (part: ChainPart) => numbered(parts.indexOf(part));
  const averager = [...parts].reverse().find((part) => "averaged" in part && part.averaged !== undefined);
  return {
    name: `chain(${parts.map((part) => part.name).join(", ")})`,
    init: (parameters) => joined(parts.map((part) => [part.name, part.init?.(parameters) ?? {}])),
    scalars: (step, learningRate) =>
      joined(parts.map((part) => [part.name, names(part).add(part.scalars?.(step, learningRate) ?? {})])),
    ...(parts.some((part) => part.inputs !== undefined) && {
      inputs: (step: number, parameters: Readonly<Record<string, Tensor>>) =>
        joined(parts.map((part) => [part.name, names(part).add(part.inputs?.(step, parameters) ?? {})])),
    }),
    update(call) {
      const forPart = (part: ChainPart) => ({
        scalars: names(part).take(call.scalars),
        ...(call.inputs && { inputs: names(part).take(call.inputs) }),
      });
      const transformed = (gradients: OptimizerCall["gradients"], parameters: OptimizerCall["parameters"]) => {
        let [seen, state]: [OptimizerCall["gradients"], Record<string, Value>] = [gradients, {}];
        for (const part of before) {
          const result = part.transform({ ...call, parameters, gradients: seen, ...forPart(part) });
          seen = result.gradients;
          state = { ...state, ...result.state };
        }
        return { gradients: seen, state };
      };
      const first = transformed(call.gradients, call.parameters);
      const updated = optimizer.update({
        ...call,
        ...forPart(optimizer),
        gradients: first.gradients,
        // A second look at the gradients passes through the same transforms; their state moves on once per step.
        gradientsAt: (parameters) => transformed(call.gradientsAt(parameters), parameters).gradients,
      });
      let { parameters } = updated;
      let state = { ...first.state, ...updated.state };
      for (const part of after) {
        const result = part.after({ ...call, ...forPart(part), parameters, before: call.parameters });
        parameters = result.parameters ?? parameters;
        state = { ...state, ...result.state };
      }
      return { parameters, state };
    },
    ...(averager && "averaged" in averager && { averaged: averager.averaged }),
  };
}

function invalidChain(parts: readonly ChainPart[]): LoomweightError {
  return new LoomweightError({
    code: "INVALID_CHAIN",
    problem: "parts of a chain are out of order",
    expected: "gradient transforms, one optimizer, parameter transforms",
    found: parts.length === 0 ? "no parts" : parts.map((part) => part.name).join(", "),
  });
}
