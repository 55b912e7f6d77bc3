import {
  add,
  cast,
  type GraphValue,
  input,
  mul,
  type State,
  stateValue,
  stopGradient,
  type Value,
} from "@loomweight/graph";
import type { Batch } from "@loomweight/graph/training";
import type { Tensor } from "@loomweight/tensor";
import {
  aggregate,
  type KlKind,
  klPenalty,
  type PolicyLossOptions,
  policyLoss,
  tokenLogProbabilities,
} from "./policy-loss.ts";

/** Logits [N, T, actions] of what the policy sees: a function of its parameters and inputs, in float32. */
export type Policy = (parameters: Readonly<Record<string, Value>>, inputs: Readonly<Record<string, Value>>) => Value;

export interface KlOptions {
  /** Weight of the penalty for leaving the initial policy. */
  readonly beta: number;
  /** Default "low_var_kl". */
  readonly kind?: KlKind;
}

/** What the loss of a policy is made of, whatever advantages it is given. */
export interface PolicyGraph {
  readonly policy: Policy;
  readonly loss: PolicyLossOptions;
  readonly kl?: KlOptions;
}

/** Names of a batch's tensors: the policy's inputs have a prefix, so that none collides with the others. */
export const inputPrefix = "input/";
/** The initial policy's parameters in the state, where a penalty compares with them. */
export const referencePrefix = "reference/";

type Values = Readonly<Record<string, Value>>;

/** Loss and metrics of one batch: actions, mask, advantage, optionally oldLogp, and the policy's inputs. */
export function batchLoss(graph: PolicyGraph, parameters: Values, batch: Values): { loss: Value; metrics: Values } {
  const logp = logProbabilities(graph.policy, parameters, batch);
  const found = policyLoss(
    { logp, oldLogp: batch.oldLogp ?? stopGradient(logp), advantage: batch.advantage, mask: batch.mask },
    graph.loss,
  );
  const { clipFraction, dualClipFraction, approximateKl } = found;
  const metrics = { clipFraction, dualClipFraction, approximateKl };
  if (graph.kl === undefined) return { loss: found.loss, metrics };
  const kl = referenceKl(graph, graph.kl, { parameters, batch, logp });
  return { loss: add(found.loss, mul(kl, graph.kl.beta)), metrics: { ...metrics, kl } };
}

/** The loss of each objective on its own, from one forward pass: `advantages` are K values [N, T]. */
export function objectiveLosses(
  graph: PolicyGraph,
  parameters: Values,
  batch: Values,
  advantages: readonly Value[],
): Value[] {
  const logp = logProbabilities(graph.policy, parameters, batch);
  const kl = graph.kl && mul(referenceKl(graph, graph.kl, { parameters, batch, logp }), graph.kl.beta);
  return advantages.map((advantage) => {
    const { loss } = policyLoss({ logp, oldLogp: stopGradient(logp), advantage, mask: batch.mask }, graph.loss);
    return kl === undefined ? loss : add(loss, kl);
  });
}

/** log π of a batch's actions: [N, T]. */
export function logProbabilities(policy: Policy, parameters: Values, batch: Values): Value {
  return tokenLogProbabilities(policy(ownParameters(parameters), withoutPrefix(inputPrefix, batch)), batch.actions);
}

/** The parameters of the state as a program sees them, half precision cast to float32. */
export function stateParameters(state: State, names: readonly string[]): Record<string, Value> {
  return Object.fromEntries(
    names.map((name) => {
      const { dtype, shape } = state.tensors.get(name) as { dtype: Tensor["dtype"]; shape: readonly number[] };
      const value = stateValue(name, dtype, shape);
      return [name, dtype === "float16" || dtype === "bfloat16" ? cast(value, "float32") : value];
    }),
  );
}

/** Inputs of a graph like these tensors. */
export function inputsLike(batch: Batch): Record<string, GraphValue> {
  return Object.fromEntries(Object.entries(batch).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]));
}

function referenceKl(
  graph: PolicyGraph,
  { kind }: KlOptions,
  { parameters, batch, logp }: { parameters: Values; batch: Values; logp: Value },
): Value {
  const before = stopGradient(
    logProbabilities(
      graph.policy,
      { ...ownParameters(parameters), ...withoutPrefix(referencePrefix, parameters) },
      batch,
    ),
  );
  return aggregate(klPenalty(logp, before, kind), batch.mask, graph.loss.aggregation);
}

/** What the policy itself reads: all but the initial values that it is compared with. */
function ownParameters(parameters: Values): Values {
  return Object.fromEntries(Object.entries(parameters).filter(([name]) => !name.startsWith(referencePrefix)));
}

/** The values whose names begin with a prefix, under the rest of their names. */
function withoutPrefix(prefix: string, values: Values): Values {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
    ),
  );
}
