import { type ErrorDetails, LoomweightError } from "./errors.ts";

/** An error as it crosses threads: plain data. */
export interface WireError {
  readonly details?: Omit<ErrorDetails, "cause">;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
}

/** What a thread sends of an error; its cause stays behind. */
export function errorToWire(error: unknown): WireError {
  if (error instanceof LoomweightError) {
    const { cause: _, ...details } = error.details;
    return { details, name: error.name, message: error.message, stack: error.stack };
  }
  if (error instanceof Error) return { name: error.name, message: error.message, stack: error.stack };
  return { name: "Error", message: String(error), stack: undefined };
}

/** The error again, with the stack of the thread that it came from. */
export function errorFromWire({ details, name, message, stack }: WireError): Error {
  const error: Error = details === undefined ? new Error(message) : new LoomweightError(details);
  if (details === undefined) error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;
}
