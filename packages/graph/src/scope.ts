import { LoomweightError } from "@loomweight/tensor";

// Building is synchronous, so one path per thread tells where the code now runs; `named` always restores it.
let path = "";

/**
 * Prefixes the names of the nodes that `build` makes: nested scopes "layers.0", "attn", "q_proj" name a MatMul
 * "/layers.0/attn/q_proj/MatMul". `build` must be synchronous: throws `INVALID_SCOPE` when it returns a promise.
 */
export function named<T>(scope: string, build: () => T): T {
  const outer = path;
  path = `${outer}/${scope}`;
  try {
    const result = build();
    if (result instanceof Promise) {
      throw new LoomweightError({
        code: "INVALID_SCOPE",
        problem: `named("${scope}"): the function that builds must not be async`,
        fix: "Read what it needs before, and build synchronously.",
      });
    }
    return result;
  } finally {
    path = outer;
  }
}

/** Name of a node built now: the scopes around it and its own name. */
export function scopedName(name: string): string {
  return `${path}/${name}`;
}
