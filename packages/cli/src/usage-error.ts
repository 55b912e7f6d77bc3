/** Command-line arguments that make no sense together: exit code 2. */
export interface UsageError extends Error {
  readonly name: "UsageError";
}

/** An error that ends the command with exit code 2. */
export function usageError(message: string): UsageError {
  return Object.assign(new Error(message), { name: "UsageError" as const });
}

export function isUsageError(error: unknown): error is UsageError {
  return error instanceof Error && error.name === "UsageError";
}
