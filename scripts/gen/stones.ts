import { readFileSync } from "node:fs";
import { join } from "node:path";
import { floors } from "../floors/table.ts";
import { root } from "../packages/packages.ts";
import type { Stone } from "./wall.ts";

/** The rows of the floor table with their published names and direct needs within the workspace. */
export function readStones(): Stone[] {
  const manifests = floors.map(
    ({ folder }) =>
      JSON.parse(readFileSync(join(root, "packages", folder, "package.json"), "utf8")) as {
        name: string;
        dependencies?: Record<string, string>;
      },
  );
  const names = new Set(manifests.map(({ name }) => name));
  return floors.map((floor, i) => ({
    ...floor,
    name: manifests[i].name,
    needs: Object.keys(manifests[i].dependencies ?? {}).filter((name) => names.has(name)),
  }));
}
