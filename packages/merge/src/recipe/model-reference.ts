import { LoomweightError } from "@loomweight/tensor";
import { describeValue, isLocatedMap, type Located, type Place } from "./located.ts";
import { requireKnownKeys, textAt } from "./read.ts";

/** A model as a recipe names it: a folder, and an adapter that is folded into it. */
export interface ModelReference {
  readonly path: string;
  readonly adapter?: string;
  /** `path` or `path+adapter`: two references with one key are one model. */
  readonly key: string;
  readonly place: Place;
}

/** Reads `path[+adapter]` or mergekit's mapping form `{ model: { path }, lora: { path } }`. */
export function readModelReference(located: Located, key = "model"): ModelReference {
  const { value, place } = located;
  if (typeof value === "string") return fromText(value, place);
  if (!isLocatedMap(value)) {
    throw referenceError(place, `${key} must be the path of a model, found ${describeValue(located)}`);
  }
  requireKnownKeys(located, "model reference", ["model", "lora", "override_architecture"]);
  const override = value.get("override_architecture");
  if (override !== undefined && override.item.value !== null) {
    throw referenceError(override.keyPlace, "override_architecture is known to mergekit, not built yet");
  }
  const model = value.get("model")?.item;
  if (model === undefined) throw referenceError(place, "a model reference needs `model`");
  const adapter = value.get("lora")?.item;
  const path = pathOf(model);
  return withKey(path, adapter === undefined || adapter.value === null ? undefined : pathOf(adapter), place);
}

function pathOf(located: Located): string {
  if (typeof located.value === "string") return withoutRevision(located.value, located.place);
  requireKnownKeys(located, "model path", ["path", "revision"]);
  const revision = textAt(located, "revision");
  const path = textAt(located, "path");
  if (path === undefined) throw referenceError(located.place, "a model path needs `path`");
  if (revision !== undefined) throw noRevisions(located.place, `${path}@${revision}`);
  return path;
}

function fromText(text: string, place: Place): ModelReference {
  const parts = text.split("+");
  if (parts.length > 2) throw referenceError(place, `"${text}" has more than one +`, "Fold one adapter at a time.");
  const [path, adapter] = parts.map((part) => withoutRevision(part, place));
  return withKey(path, adapter, place);
}

function withoutRevision(text: string, place: Place): string {
  const parts = text.split("@");
  if (parts.length > 2) throw referenceError(place, `"${text}" has more than one @`);
  if (parts.length === 2) throw noRevisions(place, text);
  if (text.trim() === "") throw referenceError(place, "the path of a model is empty");
  return text;
}

function withKey(path: string, adapter: string | undefined, place: Place): ModelReference {
  return { path, adapter, key: adapter === undefined ? path : `${path}+${adapter}`, place };
}

function noRevisions(place: Place, text: string): LoomweightError {
  return referenceError(
    place,
    `"${text}" asks for a revision, but models are local folders`,
    "Download that revision and give the path of its folder.",
  );
}

function referenceError(place: Place, problem: string, fix?: string): LoomweightError {
  return new LoomweightError({ code: "INVALID_MODEL_REFERENCE", problem, fix, ...place });
}
