import { readFileSync } from "node:fs";
import { join } from "node:path";
import { floors } from "../floors/table.ts";
import { root } from "../packages/packages.ts";
import type { Stone } from "./wall.ts";

/** The rows of the floor table with their published names. */
export function readStones(): Stone[] {
  return floors.map((floor) => {
    const manifest = readFileSync(join(root, "packages", floor.folder, "package.json"), "utf8");
    return { ...floor, name: (JSON.parse(manifest) as { name: string }).name };
  });
}
