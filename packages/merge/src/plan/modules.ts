import type { TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError, unknownName } from "@loomweight/tensor";
import type { RecipeModule } from "../recipe/parts.ts";
import { type OutsideRole, outsideRole } from "./roles.ts";

/** Where checkpoints and configurations keep a part that models of several kinds have. */
interface ModuleKind {
  /** Names that recipes use for it. */
  readonly names: readonly string[];
  /** Beginnings of its tensors' names, as current and older versions of transformers write them. */
  readonly prefixes: readonly string[];
  /** Sections of config.json about it. */
  readonly sections: readonly string[];
  /** Keys with its number of layers, in its section or, for the first that is there, at the top. */
  readonly layerCounts: readonly string[];
}

const under = (...names: readonly string[]) => names.flatMap((name) => [`model.${name}.`, `${name}.`]);
const usualCounts = ["num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth"];

const text: ModuleKind = {
  names: ["text_decoder", "language_model", "text_model", "llm"],
  prefixes: under("language_model", "text_model", "llm"),
  sections: ["text_config", "llm_config", "language_config"],
  layerCounts: usualCounts,
};
const decoder: ModuleKind = {
  names: ["decoder"],
  prefixes: ["decoder.", "model.decoder.", "transformer.decoder."],
  sections: ["decoder", "decoder_config"],
  layerCounts: ["decoder_layers", "num_decoder_layers", ...usualCounts],
};
const encoder: ModuleKind = {
  names: ["encoder"],
  prefixes: ["encoder.", "model.encoder.", "transformer.encoder."],
  sections: ["encoder", "encoder_config"],
  layerCounts: ["encoder_layers", "num_encoder_layers", ...usualCounts],
};
const kinds: readonly ModuleKind[] = [
  text,
  {
    names: ["vision_tower", "vision_model", "vision_encoder", "visual", "vision"],
    prefixes: under("vision_tower", "vision_model", "vision_encoder", "visual"),
    sections: ["vision_config", "vit_config"],
    layerCounts: usualCounts,
  },
  {
    names: ["audio_tower", "audio_model", "audio_encoder", "audio"],
    prefixes: under("audio_tower", "audio_model", "audio_encoder"),
    sections: ["audio_config"],
    layerCounts: ["encoder_layers", ...usualCounts],
  },
  {
    names: ["multi_modal_projector", "projector", "connector", "mm_projector"],
    prefixes: under("multi_modal_projector", "connector", "mm_projector", "audio_projector"),
    sections: [],
    layerCounts: [],
  },
  encoder,
  decoder,
];
/** Those whose layers work on tokens: shared embeddings and the head belong to the first of them that is listed. */
const embeddingOwners = [encoder, text, decoder];
const headOwners = [text, decoder, encoder];

/** A module of a recipe, found in the models. */
export interface PlacedModule {
  readonly module: RecipeModule;
  readonly kind: ModuleKind | undefined;
  /** Its tensors' names begin with this; empty: what no other part claims. */
  readonly prefix: string;
}

export interface ModulePlaces {
  readonly modules: readonly PlacedModule[];
  /** The module that a tensor belongs to; undefined: none of those listed. */
  moduleOf(name: string): PlacedModule | undefined;
}

/**
 * Finds the modules of a recipe by the names of a model's tensors: a module's name is a part of the path that its
 * tensors share (`encoder` for `model.encoder.*`, `model.visual`), or what recipes call such a part (`text_decoder`).
 * Heads and shared embeddings outside of every part belong to the module that works on tokens. Throws
 * `UNKNOWN_MODULE`, `AMBIGUOUS_MODULE`.
 */
export function placeModules(
  modules: readonly RecipeModule[],
  tensors: ReadonlyMap<string, TensorInfo>,
  model: string,
): ModulePlaces {
  const names = [...tensors.keys()];
  const placed = modules.map((module): PlacedModule => {
    const prefix = prefixOf(module, names, model);
    const kind = kinds.find((each) => each.names.includes(module.name) || each.prefixes.includes(prefix));
    return { module, kind, prefix };
  });
  placed.forEach(({ module, prefix }, index) => {
    const before = placed.slice(0, index).find((each) => each.prefix === prefix);
    if (before === undefined) return;
    throw ambiguous(module, [`the part that "${before.module.name}" is, too`]);
  });
  // A part that the recipe does not list is not taken by a module that means all the rest.
  const unlisted = kinds
    .flatMap(({ prefixes }) => prefixes)
    .filter((each) => names.some((name) => name.startsWith(each)))
    .filter((each) => !placed.some(({ prefix }) => prefix !== "" && each.startsWith(prefix)));
  const claims = new Map<string, PlacedModule | undefined>(unlisted.map((prefix) => [prefix, undefined]));
  for (const each of placed) claims.set(each.prefix, each);
  const longestFirst = [...claims.keys()].sort((a, b) => b.length - a.length);
  const owner = (role: OutsideRole): PlacedModule | undefined => {
    if (role !== "embedding" && role !== "head") return undefined;
    const owners = role === "head" ? headOwners : embeddingOwners;
    return owners.flatMap((kind) => placed.filter((each) => each.kind === kind))[0];
  };
  return {
    modules: placed,
    moduleOf(name) {
      const claimed = longestFirst.find((prefix) => name.startsWith(prefix));
      return claimed === undefined ? owner(outsideRole(name)) : claims.get(claimed);
    },
  };
}

function prefixOf(module: RecipeModule, names: readonly string[], model: string): string {
  const { name } = module;
  const stated = pathsTo(name, names);
  if (stated.length > 1) throw ambiguous(module, stated);
  if (stated.length === 1) return stated[0];
  const kind = kinds.find((each) => each.names.includes(name));
  const found = (kind?.prefixes ?? []).find((prefix) => names.some((each) => each.startsWith(prefix)));
  if (found !== undefined) return found;
  const parts = partsOf(names);
  // Some models keep the text decoder at the top, and name only what they add to it.
  if (kind === text && parts.length > 0) return "";
  throw unknownName({
    kind: `module of ${model}`,
    name,
    known: ["default", ...parts],
    code: "UNKNOWN_MODULE",
    fix:
      parts.length === 0
        ? "This model is in one part: write its slices or models under `default`, or at the top of the recipe."
        : `Its parts: ${parts.join(", ")}.`,
    ...module.place,
  });
}

/** Paths that end in `name`, the outermost ones: `model.encoder.` for "encoder". */
function pathsTo(name: string, names: readonly string[]): string[] {
  const paths = new Map<string, number>();
  for (const each of names) {
    const at = `.${each}`.indexOf(`.${name}.`);
    if (at < 0) continue;
    const path = each.slice(0, at + name.length + 1);
    paths.set(path, path.split(".").length);
  }
  const outermost = Math.min(...paths.values());
  return [...paths].filter(([, depth]) => depth === outermost).map(([path]) => path);
}

/** Names of the parts that a model has, as far as they are known ones. */
export function partsOf(names: readonly string[]): string[] {
  return kinds
    .filter(({ prefixes }) => prefixes.some((prefix) => names.some((name) => name.startsWith(prefix))))
    .map((kind) => kind.names[0]);
}

function ambiguous({ name, place }: RecipeModule, found: readonly string[]): LoomweightError {
  return new LoomweightError({
    code: "AMBIGUOUS_MODULE",
    problem: `the module "${name}" could mean more than one part of the models`,
    found: found.join(", "),
    fix: "Write the path that its tensors begin with, such as model.vision_tower.",
    ...place,
  });
}

/** Where a module's number of layers stands in config.json: the section (undefined: the top) and the key. */
export function layerCountOf(
  { kind, module }: PlacedModule,
  config: Readonly<Record<string, unknown>>,
): { readonly section: string | undefined; readonly key: string } | undefined {
  const sections = kind?.sections ?? [`${module.name}_config`, module.name];
  for (const section of sections) {
    const inner = config[section];
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) continue;
    const key = (kind?.layerCounts ?? usualCounts).find(
      (each) => typeof (inner as Record<string, unknown>)[each] === "number",
    );
    if (key !== undefined) return { section, key };
  }
  // At the top stands the count of what the model is named for: its text decoder, or one each of encoder and decoder.
  const top: readonly string[] =
    kind === text
      ? usualCounts
      : kind === decoder
        ? ["decoder_layers", "num_decoder_layers"]
        : kind === encoder
          ? ["encoder_layers", "num_encoder_layers", "num_layers", "num_hidden_layers"]
          : [];
  const key = top.find((each) => typeof config[each] === "number");
  return key === undefined ? undefined : { section: undefined, key };
}
