import { stringify } from "yaml";

/** A recipe that was given as an object (a list: several documents) as YAML text that means the same. */
export function recipeYaml(recipe: object): string {
  const documents = Array.isArray(recipe) ? recipe : [recipe];
  return documents
    .map((document) => stringify(document, { schema: "core", aliasDuplicateObjects: false, lineWidth: 0 }))
    .join("---\n");
}
