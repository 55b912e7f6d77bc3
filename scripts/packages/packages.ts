import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { floors } from "../floors/table.ts";

export const root: string = fileURLToPath(new URL("../..", import.meta.url));

/** A package that users install. */
export interface PublishedPackage {
  readonly folder: string;
  readonly path: string;
  readonly name: string;
  /** `@loomweight/*` packages it needs, directly or through others. */
  readonly needs: readonly string[];
}

/** Every published package, lowest floor first. */
export function publishedPackages(): PublishedPackage[] {
  const direct = new Map<string, string[]>();
  const listed = floors.map(({ folder }) => {
    const path = join(root, "packages", folder);
    const manifest = JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as {
      name: string;
      dependencies?: Record<string, string>;
    };
    direct.set(
      manifest.name,
      Object.keys(manifest.dependencies ?? {}).filter((name) => name.startsWith("@loomweight/")),
    );
    return { folder, path, name: manifest.name };
  });
  return listed.map((each) => ({ ...each, needs: [...closure(each.name, direct)].sort() }));
}

function closure(name: string, direct: ReadonlyMap<string, readonly string[]>): Set<string> {
  const found = new Set<string>();
  const waiting = [...(direct.get(name) ?? [])];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (found.has(next)) continue;
    found.add(next);
    waiting.push(...(direct.get(next) ?? []));
  }
  return found;
}
