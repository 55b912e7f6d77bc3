import { type OptionSpecs, type OptionValues, parseOptions } from "@loomweight/tensor";

/**
 * A method that finds, grows or trains networks which share weights. `task` is what it works on (a space, weights, data,
 * a runtime), `result` what comes of it; numbers are options.
 */
export interface NasMethod<T, R, O extends OptionSpecs = OptionSpecs> {
  /** The published name in kebab case, as file and page have it. */
  readonly name: string;
  readonly source: string;
  /** What it does, in one sentence: the row of the table of methods. */
  readonly summary: string;
  readonly options: O;
  start(task: T, options: OptionValues<O>): Promise<R>;
}

/** Declares a method; the types of its options follow from their specs. */
export function defineNasMethod<T, R, const O extends OptionSpecs>(method: NasMethod<T, R, O>): NasMethod<T, R, O> {
  return method;
}

/** Starts a method: checks its options, fills in defaults. Throws `UNKNOWN_OPTION`, `INVALID_OPTION`, `MISSING_OPTION`. */
export async function search<T, R, O extends OptionSpecs>(
  method: NasMethod<T, R, O>,
  task: T,
  options: Partial<OptionValues<O>> = {},
): Promise<R> {
  return method.start(task, parseOptions(method.options, options, method.name));
}
