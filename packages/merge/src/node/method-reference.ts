import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { LoomweightError } from "@loomweight/tensor";
import type { AnyMergeMethod } from "../define.ts";
import { mergeMethods } from "../method-list.ts";

/**
 * A method of your own where workers can find it too: `module` is a URL, a path or a package name, `export` the name
 * under which it exports the method.
 */
export interface MergeMethodModule {
  readonly module: string;
  readonly export: string;
}

/** How a worker gets its method: by name among those of this package, or from a module. */
export type MethodReference = { readonly name: string } | MergeMethodModule;

/** Methods that a recipe may name, and for each how a worker gets it; without an entry it is a bare value. */
export interface KnownMethods {
  readonly methods: readonly AnyMergeMethod[];
  readonly references: ReadonlyMap<AnyMergeMethod, MethodReference>;
}

/** Loads the methods that are given by module. Throws `METHOD_NOT_LOADED`. */
export async function knownMethods(
  given: readonly (AnyMergeMethod | MergeMethodModule)[] = mergeMethods,
): Promise<KnownMethods> {
  const references = new Map<AnyMergeMethod, MethodReference>();
  const methods: AnyMergeMethod[] = [];
  for (const each of given) {
    if ("module" in each) {
      const method = await loadMethod(each);
      references.set(method, each);
      methods.push(method);
    } else {
      if (mergeMethods.includes(each)) references.set(each, { name: each.name });
      methods.push(each);
    }
  }
  return { methods, references };
}

/** The method that a reference means. Throws `METHOD_NOT_LOADED`. */
export async function loadMethod(reference: MethodReference): Promise<AnyMergeMethod> {
  if ("name" in reference) {
    const method = mergeMethods.find(({ name }) => name === reference.name);
    if (method !== undefined) return method;
    throw notLoaded(reference.name, "this package has no such method");
  }
  const specifier = moduleSpecifier(reference.module);
  let exported: unknown;
  try {
    exported = ((await import(/* @vite-ignore */ specifier)) as Record<string, unknown>)[reference.export];
  } catch (cause) {
    throw notLoaded(reference.module, `loading the module of a merge method failed: ${String(cause)}`, cause);
  }
  if (!isMethod(exported)) {
    throw notLoaded(reference.module, `"${reference.export}" of this module is no merge method`);
  }
  return exported;
}

/** A path becomes a URL; URLs and package names stay. */
function moduleSpecifier(module: string): string {
  return isAbsolute(module) || /^\.{1,2}[/\\]/.test(module) ? pathToFileURL(resolve(module)).href : module;
}

function isMethod(value: unknown): value is AnyMergeMethod {
  const method = value as Partial<AnyMergeMethod> | null | undefined;
  return typeof method?.merge === "function" && typeof method.name === "string" && typeof method.needs === "object";
}

function notLoaded(file: string, problem: string, cause?: unknown): LoomweightError {
  return new LoomweightError({
    code: "METHOD_NOT_LOADED",
    file,
    problem,
    fix: "Give the path or URL of a module, and the name under which it exports what defineMergeMethod returned.",
    cause,
  });
}
