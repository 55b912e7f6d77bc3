import { LoomweightError, unknownName } from "@loomweight/tensor";
import { type Axis, decisionsOf, factorsOf, largestSize, sizeOf } from "./axis.ts";
import { type Architecture, chosenIndex, type Decision, largest } from "./choice.ts";

/** One parameter of the largest network and what a smaller one takes of it. */
export interface ParameterSpec {
  readonly axes: readonly Axis[];
  /**
   * Decisions of the layer beyond those of the axes: where one choice is computed alone, its share multiplies this
   * parameter too, since it belongs to the chosen operation (the bias of a layer whose input width is decided).
   */
  readonly joint?: readonly Decision[];
  /** It exists only where the decision is at least that: parameters of a layer that shallower networks lack. */
  readonly when?: { readonly decision: Decision; readonly atLeast: number };
}

/** Networks that share the weights of the largest: parameters by name, decisions by name. */
export interface Space {
  readonly parameters: Readonly<Record<string, ParameterSpec>>;
  readonly decisions: Readonly<Record<string, Decision>>;
}

/**
 * A space from its parameters (`linearSpace`, `convolutionSpace`, …, or axes by hand); `decisions` adds those that no
 * parameter names, such as operations. Throws `INVALID_SPACE` where one name stands for different choices or a size is
 * no whole number above 0.
 */
export function defineSpace(
  parameters: Readonly<Record<string, ParameterSpec>>,
  decisions: readonly Decision[] = [],
): Space {
  const known: Record<string, Decision> = {};
  const note = (decision: Decision, where: string) => {
    const before = known[decision.name];
    if (before !== undefined && `${before.choices}` !== `${decision.choices}`) {
      throw new LoomweightError({
        code: "INVALID_SPACE",
        problem: `the decision "${decision.name}" has two lists of choices`,
        tensor: where,
        expected: `[${before.choices}]`,
        found: `[${decision.choices}]`,
        fix: "Give decisions of different choices different names.",
      });
    }
    known[decision.name] = decision;
  };
  for (const [name, { axes, joint = [], when }] of Object.entries(parameters)) {
    for (const axis of axes) {
      for (const factor of factorsOf(axis)) {
        const least = typeof factor === "number" ? factor : factor.choices[0];
        if (!Number.isSafeInteger(least) || least < 1) throw badSize(name, least);
        if (typeof factor !== "number") note(factor, name);
      }
    }
    for (const decision of [...joint, ...(when === undefined ? [] : [when.decision])]) note(decision, name);
  }
  for (const decision of decisions) note(decision, "decisions");
  return { parameters: { ...parameters }, decisions: known };
}

function badSize(parameter: string, found: number): LoomweightError {
  return new LoomweightError({
    code: "INVALID_SPACE",
    problem: "a size is no whole number above 0",
    tensor: parameter,
    expected: "sizes of at least 1",
    found: `${found}`,
  });
}

/** Shape of a parameter in the largest network. */
export function largestShape({ axes }: ParameterSpec): number[] {
  return axes.map(largestSize);
}

/** Shape of a parameter in one network. */
export function chosenShape({ axes }: ParameterSpec, architecture: Architecture): number[] {
  const chosen = (decision: Decision) => decision.choices[chosenIndex(decision, architecture)];
  return axes.map((axis) => sizeOf(axis, chosen));
}

/** Whether the parameter is part of that network. */
export function exists({ when }: ParameterSpec, architecture: Architecture): boolean {
  return when === undefined || when.decision.choices[chosenIndex(when.decision, architecture)] >= when.atLeast;
}

/** Decisions that a parameter's shape depends on, each once. */
export function decisionsOfParameter({ axes }: ParameterSpec): Decision[] {
  return [...new Map(axes.flatMap(decisionsOf).map((each) => [each.name, each])).values()];
}

/** Checks that an architecture has one choice for every decision and nothing else; throws `INVALID_ARCHITECTURE`. */
export function checkArchitecture(space: Space, architecture: Architecture): void {
  for (const decision of Object.values(space.decisions)) chosenIndex(decision, architecture);
  for (const name of Object.keys(architecture)) {
    if (Object.hasOwn(space.decisions, name)) continue;
    throw unknownName({ kind: "decision", name, known: Object.keys(space.decisions), code: "INVALID_ARCHITECTURE" });
  }
}

/** The largest network. */
export function largestArchitecture(space: Space): Architecture {
  return Object.fromEntries(Object.values(space.decisions).map((each) => [each.name, largest(each)]));
}

/** How many networks the space has. */
export function countArchitectures(space: Space): number {
  return Object.values(space.decisions).reduce((count, { choices }) => count * choices.length, 1);
}

/** Every network of the space; decisions declared last change fastest. */
export function* allArchitectures(space: Space): Generator<Architecture> {
  const decisions = Object.values(space.decisions);
  const count = countArchitectures(space);
  for (let index = 0; index < count; index++) {
    let rest = index;
    const chosen: [string, number][] = [];
    for (let i = decisions.length - 1; i >= 0; i--) {
      const { name, choices } = decisions[i];
      chosen.unshift([name, choices[rest % choices.length]]);
      rest = Math.floor(rest / choices.length);
    }
    yield Object.fromEntries(chosen);
  }
}

/** Parameters of one network, counted. */
export function countParameters(space: Space, architecture: Architecture): number {
  checkArchitecture(space, architecture);
  return Object.values(space.parameters).reduce(
    (sum, spec) =>
      exists(spec, architecture) ? sum + chosenShape(spec, architecture).reduce((all, size) => all * size, 1) : sum,
    0,
  );
}
