import type { Value } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { joined, numbered } from "./parts.ts";
import { matches, type ParameterPattern } from "./pattern.ts";

/** Parameters that are treated alike. */
export interface ParameterGroup {
  /** Which ones: a name pattern, several, or a function. The first group that matches takes a parameter. */
  readonly parameters: ParameterPattern;
  /** How they are updated; "frozen": not at all. */
  readonly optimizer: Optimizer | "frozen";
  /** Factor of the learning rate; default 1. */
  readonly learningRateScale?: number;
}

/**
 * An optimizer that treats parameters by group; `rest` takes those that no group matches:
 * `groups([{ parameters: ["*.bias", "*norm*"], optimizer: adamw({ weightDecay: 0 }) }], adamw())`.
 * Throws `EMPTY_GROUP` for a group that matches nothing (a mistyped pattern), `UNMATCHED_PARAMETER` without `rest`.
 */
export function groups(list: readonly ParameterGroup[], rest?: Optimizer): Optimizer {
  const all: ParameterGroup[] = [...list, ...(rest === undefined ? [] : [{ parameters: "*", optimizer: rest }])];
  const active = all.filter(
    (group): group is ParameterGroup & { optimizer: Optimizer } => group.optimizer !== "frozen",
  );
  const indexOf = (name: string, shape: readonly number[]) =>
    all.findIndex(({ parameters }) => matches(parameters, name, shape));
  const membersOf = <T extends { readonly shape: readonly unknown[] }>(
    group: ParameterGroup,
    parameters: Readonly<Record<string, T>>,
  ): Record<string, T> =>
    Object.fromEntries(
      Object.entries(parameters).filter(
        ([name, { shape }]) => all[indexOf(name, shape as readonly number[])] === group,
      ),
    );
  const names = (group: ParameterGroup) => numbered(all.indexOf(group));
  const pick = <T>(values: Readonly<Record<string, T>>, members: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(values).filter(([name]) => Object.hasOwn(members, name)));
  return {
    name: `groups(${all.map(({ optimizer }) => (optimizer === "frozen" ? optimizer : optimizer.name)).join(", ")})`,
    init(parameters) {
      requireMatched(all, parameters, indexOf, rest !== undefined);
      return joined(active.map((group) => [group.optimizer.name, group.optimizer.init(membersOf(group, parameters))]));
    },
    scalars: (step, learningRate) =>
      joined(
        active.map((group) => [
          group.optimizer.name,
          names(group).add(group.optimizer.scalars(step, learningRate * (group.learningRateScale ?? 1))),
        ]),
      ),
    ...(active.some(({ optimizer }) => optimizer.inputs !== undefined) && {
      inputs: (step: number, parameters: Readonly<Record<string, Tensor>>) =>
        joined(
          active.map((group) => [
            group.optimizer.name,
            names(group).add(group.optimizer.inputs?.(step, membersOf(group, parameters)) ?? {}),
          ]),
        ),
    }),
    update(call) {
      let parameters: Record<string, Value> = { ...call.parameters };
      let state: Record<string, Value> = {};
      for (const group of active) {
        const members = membersOf(group, call.parameters);
        const result = group.optimizer.update({
          gradients: pick(call.gradients, members),
          parameters: members,
          state: ownState(call.state, members),
          scalars: names(group).take(call.scalars),
          ...(call.inputs && { inputs: names(group).take(call.inputs) }),
          // The other groups' parameters stay where they are while this one looks elsewhere.
          gradientsAt: (moved) => pick(call.gradientsAt({ ...call.parameters, ...moved }), members),
        });
        parameters = { ...parameters, ...result.parameters };
        state = { ...state, ...result.state };
      }
      return { parameters, state };
    },
    ...(active.some(({ optimizer }) => optimizer.averaged !== undefined) && {
      averaged(call) {
        let parameters: Record<string, Value> = { ...call.parameters };
        for (const group of active) {
          const members = membersOf(group, call.parameters);
          const result = group.optimizer.averaged?.({ parameters: members, state: ownState(call.state, members) });
          parameters = { ...parameters, ...result };
        }
        return parameters;
      },
    }),
  } satisfies Optimizer;
}

/** The entries "slot/parameter" of a state that belong to some parameters. */
function ownState(
  state: Readonly<Record<string, Value>>,
  members: Readonly<Record<string, unknown>>,
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(state).filter(([key]) => Object.hasOwn(members, key.slice(key.indexOf("/") + 1))),
  );
}

function requireMatched(
  all: readonly ParameterGroup[],
  parameters: Readonly<Record<string, Tensor>>,
  indexOf: (name: string, shape: readonly number[]) => number,
  hasRest: boolean,
): void {
  const used = new Set<number>();
  for (const [name, { shape }] of Object.entries(parameters)) {
    const index = indexOf(name, shape);
    if (index < 0) {
      throw new LoomweightError({
        code: "UNMATCHED_PARAMETER",
        problem: "groups: no group takes a parameter",
        tensor: name,
        fix: 'Give `groups` a last optimizer for the rest, or a group with the optimizer "frozen".',
      });
    }
    used.add(index);
  }
  const empty = all.findIndex((_, index) => !used.has(index) && !(hasRest && index === all.length - 1));
  if (empty < 0) return;
  throw new LoomweightError({
    code: "EMPTY_GROUP",
    problem: `groups: group ${empty} takes no parameter`,
    expected: "at least one match that an earlier group did not take",
    found: String(all[empty].parameters),
    fix: `Parameters: ${Object.keys(parameters).slice(0, 8).join(", ")}${Object.keys(parameters).length > 8 ? ", …" : ""}`,
  });
}
