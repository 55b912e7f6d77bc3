import type { Value } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { LoomweightError, type Tensor, zeros } from "@loomweight/tensor";

/** What a rule sees of one parameter at one step. All values have the parameter's dtype; `gradient` has its shape. */
export interface ParameterCall {
  readonly name: string;
  readonly shape: readonly number[];
  readonly gradient: Value;
  readonly parameter: Value;
  readonly state: Readonly<Record<string, Value>>;
  readonly scalars: Readonly<Record<string, Value>>;
}

/** An optimizer that treats every parameter alone: what most files under `methods/` define. */
export interface ParameterRule {
  /** State of one parameter before the first step, by slot ("exp_avg"). */
  init(parameter: Tensor, name: string): Readonly<Record<string, Tensor>>;
  /** Numbers of a step, computed in float64; `step` counts from 1. */
  scalars(step: number, learningRate: number): Readonly<Record<string, number>>;
  update(call: ParameterCall): { readonly parameter: Value; readonly state: Readonly<Record<string, Value>> };
}

/** Name of a slot of a parameter's state: "exp_avg/layer.0.weight". */
export function stateName(slot: string, parameter: string): string {
  return `${slot}/${parameter}`;
}

/**
 * An optimizer over all parameters from a rule for one. A parameter without gradient is left as it is, its state too.
 * Throws `DTYPE_MISMATCH` where a parameter is neither float32 nor float64.
 */
export function perParameter(name: string, rule: ParameterRule): Optimizer {
  return {
    name,
    init(parameters) {
      const state: Record<string, Tensor> = {};
      for (const [parameter, tensor] of Object.entries(parameters)) {
        requireFloat(name, parameter, tensor);
        for (const [slot, value] of Object.entries(rule.init(tensor, parameter)))
          state[stateName(slot, parameter)] = value;
      }
      return state;
    },
    scalars: rule.scalars,
    update({ gradients, parameters, state, scalars }) {
      const slots = slotsByParameter(state, parameters);
      const updated: Record<string, Value> = {};
      const newState: Record<string, Value> = {};
      for (const [parameter, value] of Object.entries(parameters)) {
        const own = slots.get(parameter) ?? {};
        const gradient = gradients[parameter];
        const result =
          gradient === undefined
            ? { parameter: value, state: own }
            : rule.update({
                name: parameter,
                shape: value.shape as readonly number[], // training graphs have concrete shapes
                gradient,
                parameter: value,
                state: own,
                scalars,
              });
        updated[parameter] = result.parameter;
        for (const [slot, each] of Object.entries(result.state)) newState[stateName(slot, parameter)] = each;
      }
      return { parameters: updated, state: newState };
    },
  };
}

/** Zeros of a tensor's shape and dtype. */
export function zerosLike(tensor: Tensor): Tensor {
  return zeros(tensor.shape, tensor.dtype);
}

function slotsByParameter(
  state: Readonly<Record<string, Value>>,
  parameters: Readonly<Record<string, Value>>,
): Map<string, Record<string, Value>> {
  const slots = new Map<string, Record<string, Value>>();
  for (const [key, value] of Object.entries(state)) {
    const slash = key.indexOf("/"); // slots have none, parameters may
    const parameter = key.slice(slash + 1);
    if (!Object.hasOwn(parameters, parameter)) continue;
    const own = slots.get(parameter) ?? {};
    own[key.slice(0, slash)] = value;
    slots.set(parameter, own);
  }
  return slots;
}

function requireFloat(optimizer: string, name: string, { dtype }: Tensor): void {
  if (dtype === "float32" || dtype === "float64") return;
  throw new LoomweightError({
    code: "DTYPE_MISMATCH",
    problem: `${optimizer}: a parameter cannot be trained`,
    tensor: name,
    expected: "float32 or float64",
    found: dtype,
    fix: "Cast it to float32 and keep the narrow copy for inference.",
  });
}
