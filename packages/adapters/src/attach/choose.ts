import type { Value } from "@loomweight/graph";
import { closestNames, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import type { LayerSite } from "./layers.ts";
import type { PreparedAdapter } from "./spec.ts";

/** The sites an adapter changes. Throws `NO_TARGET`, `UNSUPPORTED_LAYER`. */
export function chooseSites(adapter: PreparedAdapter, sites: readonly LayerSite[]): readonly LayerSite[] {
  const { method, targets, source } = adapter;
  const chosen = sites.filter(
    ({ path }) =>
      targets.isTarget(path) && (source === undefined || source.implied !== undefined || source.modules.has(path)),
  );
  const missing = [...(source?.modules.keys() ?? [])].filter((path) => !chosen.some((site) => site.path === path));
  if (missing.length > 0) {
    throw new LoomweightError({
      code: "UNKNOWN_TENSOR",
      problem: `the adapter changes ${missing.length} of its modules that the graph does not have: "${missing[0]}"`,
      file: source?.location,
      found: closest(missing[0], sites),
      fix: "The adapter belongs to another base model, or the graph names its weights otherwise.",
    });
  }
  if (chosen.length === 0 && !sites.some(({ path }) => targets.isSaved(path)) && method.scope === "layer") {
    throw new LoomweightError({
      code: "NO_TARGET",
      problem: `adapter "${adapter.name}": its targets match no layer of the model`,
      option: "targets",
      expected: `names among: ${lastNames(sites).slice(0, 20).join(", ")}`,
      found: targets.entries.slice(0, 8).join(", "),
      fix: closestTo(targets.entries, sites),
    });
  }
  const unfit = chosen.find(({ layer }) => !method.kinds.includes(layer.kind));
  if (unfit !== undefined) {
    throw new LoomweightError({
      code: "UNSUPPORTED_LAYER",
      problem: `${method.name} does not adapt a layer of the kind ${unfit.layer.kind}`,
      tensor: unfit.path,
      expected: method.kinds.join(", "),
      fix: "Leave it out with `exclude`, or choose another method.",
    });
  }
  return chosen;
}

/** A line for each target that selects nothing while others do. */
export function unmatched(adapter: PreparedAdapter, chosen: readonly LayerSite[]): string[] {
  const { entries, isSaved } = adapter.targets;
  if (entries.length < 2) return [];
  const hit = (entry: string) => chosen.some(({ path }) => path === entry || path.endsWith(`.${entry}`));
  return entries
    .filter((entry) => !hit(entry) && !isSaved(entry))
    .map((entry) => `adapter "${adapter.name}": the target "${entry}" matches no layer`);
}

/** Throws where two adapters have one name. */
export function requireDistinct(adapters: readonly { readonly name: string }[]): void {
  const names = new Set<string>();
  for (const { name } of adapters) {
    if (names.has(name)) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        problem: "two adapters have one name",
        option: "name",
        found: JSON.stringify(name),
      });
    }
    names.add(name);
  }
}

/** Throws `UNKNOWN_ADAPTER`. */
export function adapterNamed<T extends { readonly name: string }>(adapters: readonly T[], name: string): T {
  const found = adapters.find((each) => each.name === name);
  if (found !== undefined) return found;
  throw unknownName({ kind: "adapter", name, known: adapters.map((each) => each.name), code: "UNKNOWN_ADAPTER" });
}

export function unknownParameter(name: string, known: Readonly<Record<string, Tensor>>): LoomweightError {
  return unknownName({ kind: "parameter", name, known: Object.keys(known), code: "UNKNOWN_TENSOR" });
}

/** Concrete sizes of what an adapter reads: dropout draws a mask for it. */
export function sizes({ shape }: Value, { path }: LayerSite): readonly number[] {
  if (shape.every((size) => typeof size === "number")) return shape as readonly number[];
  throw new LoomweightError({
    code: "SYMBOLIC_SHAPE",
    problem: `dropout before "${path}" needs the sizes of its input`,
    found: `[${shape}]`,
    fix: "Instantiate with inputs of known sizes.",
  });
}

function lastNames(sites: readonly LayerSite[]): string[] {
  return [...new Set(sites.map(({ path }) => path.split(".").at(-1) ?? path))];
}

function closestTo(entries: readonly string[], sites: readonly LayerSite[]): string | undefined {
  const [first] = entries;
  const close = first === undefined ? [] : closestNames(first, [...lastNames(sites), ...sites.map(({ path }) => path)]);
  return close.length === 0 ? undefined : `Did you mean ${close.map((name) => `"${name}"`).join(" or ")}?`;
}

function closest(path: string, sites: readonly LayerSite[]): string {
  const close = closestNames(
    path,
    sites.map((site) => site.path),
  );
  return close.length === 0 ? "no similar name" : `closest: ${close.map((name) => `"${name}"`).join(", ")}`;
}
