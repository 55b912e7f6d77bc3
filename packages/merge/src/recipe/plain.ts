import { LoomweightError } from "@loomweight/tensor";
import { type Located, maxDepth, maxValues } from "./located.ts";

/** A recipe given as an object (the shape of its YAML), as located values without positions. */
export function locatePlain(recipe: unknown, file?: string): Located {
  let values = 0;
  const place = { file };
  const visit = (value: unknown, depth: number): Located => {
    if (++values > maxValues || depth > maxDepth) {
      throw new LoomweightError({
        code: "RECIPE_TOO_LARGE",
        problem: "the recipe is too large or refers to itself",
        file,
      });
    }
    if (Array.isArray(value)) return { value: value.map((item) => visit(item, depth + 1)), place };
    if (typeof value === "object" && value !== null) {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      return {
        value: new Map(entries.map(([key, item]) => [key, { keyPlace: place, item: visit(item, depth + 1) }])),
        place,
      };
    }
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean" || value === null) {
      return { value, place };
    }
    throw new LoomweightError({
      code: "INVALID_RECIPE",
      problem: "only mappings, lists, text, numbers, true, false and null are understood",
      found: typeof value,
      file,
    });
  };
  return visit(recipe, 0);
}
