import type { ModelFolder } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { isLocatedMap } from "./recipe/located.ts";
import { locateYaml } from "./recipe/yaml.ts";

/** A model that went into a merge, for the card. */
export interface CardSource {
  /** As the recipe spells it. */
  readonly reference: string;
  readonly licence: string | undefined;
}

export interface ModelCard {
  readonly method: string;
  readonly methodSource: string;
  readonly sources: readonly CardSource[];
  /** The recipe's text, or undefined where it was not text. */
  readonly recipe: string | undefined;
  /** "Loomweight 1.2.0". */
  readonly tool: string;
}

/** The README.md of a merged folder: method, sources with their licences, recipe, tool; no date, so the same bytes every time. */
export function modelCard({ method, methodSource, sources, recipe, tool }: ModelCard): string {
  const licences = new Set(sources.map(({ licence }) => licence));
  const shared = licences.size === 1 ? sources[0].licence : undefined;
  const rows = sources.map(
    ({ reference, licence }) =>
      `- ${inline(reference)}: ${licence === undefined ? "licence not stated" : `licence ${inline(licence)}`}`,
  );
  return [
    "---",
    "library_name: transformers",
    ...(shared === undefined ? [] : [`license: ${shared}`]),
    "tags:",
    "- merge",
    "---",
    "# Merged model",
    "",
    `Merged by the method \`${method}\` (${methodSource}) with ${tool}.`,
    "",
    "## Models",
    "",
    ...rows,
    ...(licences.size > 1
      ? ["", "The licences of these models are not the same: check what the merged model may be used for."]
      : []),
    ...(recipe === undefined ? [] : ["", "## Recipe", "", ...fenced(recipe)]),
    "",
  ].join("\n");
}

const maxReadmeBytes = 1_000_000;

/** The licence that a model's README states in its front matter; undefined where there is none. */
export async function licenceOf(folder: ModelFolder): Promise<string | undefined> {
  const readme = folder.files.get("README.md");
  if (readme === undefined || readme.size > maxReadmeBytes) return undefined;
  const front = /^---\r?\n([\s\S]*?)\r?\n---/.exec(await folder.readText("README.md"));
  if (front === null) return undefined;
  try {
    const { value } = locateYaml(front[1]);
    const licence = isLocatedMap(value) ? value.get("license")?.item.value : undefined;
    return typeof licence === "string" && /^[\w.+-]{1,64}$/.test(licence) ? licence : undefined;
  } catch (error) {
    // A card that is no YAML states no licence; anything else is a fault of ours.
    if (error instanceof LoomweightError) return undefined;
    throw error;
  }
}

/** Text in a code span, whatever it holds. */
function inline(text: string): string {
  return `\`${text.replace(/[`\p{Cc}]/gu, " ")}\``;
}

function fenced(text: string): string[] {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return [`${fence}yaml`, text.trimEnd(), fence];
}
