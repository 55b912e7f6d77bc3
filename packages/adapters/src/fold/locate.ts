import type { Checkpoint } from "@loomweight/checkpoint";
import { closestNames, LoomweightError } from "@loomweight/tensor";
import type { Adapter } from "../peft/adapter.ts";

/** How module paths of a trained model become those of a base checkpoint: the leading parts often differ. */
export interface PathMap {
  readonly toBase: (path: string) => string;
  readonly fromBase: (path: string) => string | undefined;
  /** Said to the user where it is not the identity. */
  readonly note?: string;
}

const identity: PathMap = { toBase: (path) => path, fromBase: (path) => path };

/**
 * Finds the one change of leading parts under which every adapted module lies in the base: none; a part more (the
 * base was saved from inside the trained model: `transformer.h.0…` is `h.0…`) or less. Throws `UNKNOWN_TENSOR` with
 * the closest names where there is none.
 */
export function mapPaths(
  base: Checkpoint,
  adapter: Adapter,
  isKnown: (path: string, trained: string) => boolean,
): PathMap {
  const paths = [...new Set([...adapter.modules.keys(), ...(adapter.wrapped?.modules.keys() ?? [])])];
  const misses = (map: PathMap) => {
    let count = 0;
    for (const path of paths) if (!isKnown(map.toBase(path), path)) count++;
    return count;
  };
  if (misses(identity) === 0) return identity;
  const candidates = [...stripped(paths), ...prefixed(base, paths)];
  const found = candidates.find((map) => misses(map) === 0);
  if (found !== undefined) return found;
  const missing = paths.filter((path) => !isKnown(path, path));
  const modules = [...base.tensors.keys()].filter((name) => name.endsWith(".weight")).map((name) => name.slice(0, -7));
  const close = closestNames(missing[0], modules);
  throw new LoomweightError({
    code: "UNKNOWN_TENSOR",
    problem: `the adapter changes ${missing.length === 1 ? "a module" : `${missing.length} of its ${paths.length} modules`} that the base model does not have: "${missing[0]}"`,
    file: adapter.location,
    tensor: [...(adapter.modules.get(missing[0])?.params.values() ?? [])][0]?.name,
    expected: `"${missing[0]}.weight" in ${base.location}`,
    found: close.length === 0 ? "no similar name" : `closest: ${close.map((name) => `"${name}.weight"`).join(", ")}`,
    fix: "The adapter belongs to another base model (or another way of storing it).",
  });
}

function stripped(paths: readonly string[]): PathMap[] {
  const maps: PathMap[] = [];
  for (let parts = 1; parts <= 2; parts++) {
    const prefix = commonPrefix(paths, parts);
    if (prefix === undefined) break;
    maps.push({
      toBase: (path) => (path.startsWith(prefix) ? path.slice(prefix.length) : path),
      fromBase: (path) => `${prefix}${path}`,
      note: `names without "${prefix}"`,
    });
  }
  return maps;
}

function commonPrefix(paths: readonly string[], parts: number): string | undefined {
  const head = paths[0]?.split(".");
  if (head === undefined || head.length <= parts) return undefined;
  const prefix = `${head.slice(0, parts).join(".")}.`;
  return paths.some((path) => path.startsWith(prefix)) ? prefix : undefined;
}

function prefixed(base: Checkpoint, paths: readonly string[]): PathMap[] {
  const sample = paths[0];
  if (sample === undefined) return [];
  const wanted = `.${sample}.`; // followed by its weight, or by the parameters of experts
  const prefixes = new Set<string>();
  for (const name of base.tensors.keys()) {
    const at = name.indexOf(wanted);
    if (at > 0 && prefixes.size < 16) prefixes.add(name.slice(0, at + 1));
  }
  return [...prefixes].map((prefix) => ({
    toBase: (path) => `${prefix}${path}`,
    fromBase: (path) => (path.startsWith(prefix) ? path.slice(prefix.length) : undefined),
    note: `names with "${prefix}" in front`,
  }));
}
