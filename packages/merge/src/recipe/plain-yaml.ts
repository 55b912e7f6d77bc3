import { isLocatedList, isLocatedMap, type Located } from "./located.ts";
import { locateYaml } from "./yaml.ts";

/** One YAML document as plain data, by the strict reader of recipes: no tags, no duplicate keys, bounded size. Throws `INVALID_YAML`, `RECIPE_TOO_LARGE`. */
export function readYaml(text: string, file?: string): unknown {
  return plain(locateYaml(text, file));
}

function plain({ value }: Located): unknown {
  if (isLocatedList(value)) return value.map(plain);
  // Object.fromEntries defines properties: a key such as __proto__ stays one
  if (isLocatedMap(value)) return Object.fromEntries([...value].map(([key, { item }]) => [key, plain(item)]));
  return value;
}
