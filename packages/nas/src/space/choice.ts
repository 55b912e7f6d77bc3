import { LoomweightError } from "@loomweight/tensor";

/** What a search decides: one of a few numbers (a width, a kernel size, a number of heads or layers, of an operation). */
export interface Decision {
  readonly name: string;
  /** Ascending; the last is what the largest network has. */
  readonly choices: readonly number[];
}

/** One number for every decision, by name: a network of the space. */
export type Architecture = Readonly<Record<string, number>>;

/**
 * Declares a decision. Decisions are told apart by name: one that several parameters share is one decision, one for
 * every layer has a name for every layer. Throws `INVALID_OPTION` unless the choices are two or more whole numbers of
 * at least 0, ascending and distinct.
 */
export function choice(name: string, choices: readonly number[]): Decision {
  const ascending = choices.every((each, i) => i === 0 || each > choices[i - 1]);
  const whole = choices.every((each) => Number.isSafeInteger(each) && each >= 0);
  if (name === "" || choices.length < 2 || !whole || !ascending) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      option: `choice "${name}"`,
      problem: name === "" ? "a decision needs a name" : "invalid choices",
      expected: "two or more whole numbers from 0 on, ascending and distinct; the last is the largest network's",
      found: `[${choices}]`,
    });
  }
  return { name, choices: [...choices] };
}

/** The largest choice. */
export function largest({ choices }: Decision): number {
  return choices[choices.length - 1];
}

/** Position of the chosen number among the choices; throws `INVALID_ARCHITECTURE`. */
export function chosenIndex(decision: Decision, architecture: Architecture): number {
  const chosen = architecture[decision.name];
  const index = decision.choices.indexOf(chosen);
  if (index >= 0) return index;
  throw new LoomweightError({
    code: "INVALID_ARCHITECTURE",
    problem: `no such choice for "${decision.name}"`,
    expected: `one of ${decision.choices.join(", ")}`,
    found: `${chosen}`,
    ...(chosen === undefined && {
      fix: "An architecture has one number for every decision; what a model asks for must be among those of its space.",
    }),
  });
}
