import { join } from "node:path";
import {
  type Checkpoint,
  type ModelFolder,
  parseJsonObject,
  planSafetensors,
  type SafetensorsPlan,
  type TensorInfo,
} from "@loomweight/checkpoint";
import { folderFileSet, openCheckpoint } from "@loomweight/checkpoint/node";
import { LoomweightError } from "@loomweight/tensor";
import type { FoldPlan } from "../fold/plan.ts";

/** What a folded model keeps of its base, beside its weights: the tensors that folding changed, as they were. */
const stem = "base-weights";
const keptFile = `${stem}.safetensors`;
const keptIndex = `${stem}.safetensors.index.json`;
const configKey = "loomweight.base_config";
const addedKey = "loomweight.added";
/** In front of kept tensors' names in the plan of the whole output. */
const keptPrefix = "base:";

/** The layout of a folded model with what it keeps of its base. */
export interface KeptLayout {
  readonly layout: SafetensorsPlan;
  /** The base's tensor behind a name of the layout; undefined: a tensor of the folded model. */
  keptName(name: string): string | undefined;
}

/** Adds the base's own bytes of all that folding changes to a layout. */
export function withKeptBase(
  layout: SafetensorsPlan,
  plan: FoldPlan,
  base: ModelFolder,
  maxShardBytes: number | undefined,
): KeptLayout {
  const changed = [...plan.tensors.values()].filter(
    ({ name, dtype, operations, source }) =>
      operations.length > 0 || source.checkpoint !== plan.base || dtype !== plan.base.tensors.get(name)?.dtype,
  );
  const kept = changed.flatMap(({ name }) => plan.base.tensors.get(name) ?? []);
  const metadata = {
    format: "pt",
    [configKey]: JSON.stringify(base.config ?? {}),
    [addedKey]: JSON.stringify(changed.filter(({ name }) => !plan.base.tensors.has(name)).map(({ name }) => name)),
  };
  const own = planSafetensors(kept, {
    fileStem: stem,
    maxShardBytes: maxShardBytes ?? Number.MAX_SAFE_INTEGER,
    metadata,
  });
  if (own.files.length > 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "what is kept of the base lies in one file, which is larger than maxShardBytes",
      option: "keepBase",
      fix: "Keep the base's folder instead, or allow larger files.",
    });
  }
  const shift = layout.files.length;
  const tensors = new Map(layout.tensors);
  for (const [name, place] of own.tensors) tensors.set(`${keptPrefix}${name}`, { ...place, file: place.file + shift });
  return {
    layout: { files: [...layout.files, ...own.files], tensors, index: layout.index },
    keptName: (name) => (name.startsWith(keptPrefix) ? name.slice(keptPrefix.length) : undefined),
  };
}

/** The base that a folded model's folder keeps, as a checkpoint over the folded one; undefined where it keeps none. */
export async function openKeptBase(
  path: string,
  folded: ModelFolder,
): Promise<{ readonly checkpoint: Checkpoint; readonly config: Readonly<Record<string, unknown>> } | undefined> {
  const files = await folderFileSet(path).catch(() => undefined);
  if (files === undefined || !(files.names.includes(keptFile) || files.names.includes(keptIndex))) return undefined;
  const kept = await openCheckpoint(join(path, keptFile));
  const json = (key: string) => {
    const text = kept.metadata[key];
    if (text === undefined) {
      throw new LoomweightError({
        code: "INVALID_METADATA",
        problem: "the file does not say what it keeps",
        file: join(path, keptFile),
        expected: `"${key}" in its metadata`,
        fix: "Give the base model.",
      });
    }
    return new TextEncoder().encode(`{"value":${text}}`);
  };
  const { value: config } = parseJsonObject(json(configKey), keptFile) as { value: Record<string, unknown> };
  const { value: added } = parseJsonObject(json(addedKey), keptFile) as { value: unknown };
  const names = new Set(Array.isArray(added) ? added : []);
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of folded.checkpoint.tensors) {
    if (!names.has(name)) tensors.set(name, kept.tensors.get(name) ?? info);
  }
  const source = (name: string) => (kept.tensors.has(name) ? kept : folded.checkpoint);
  return {
    config,
    checkpoint: {
      location: `${path} (its kept base)`,
      tensors,
      metadata: folded.checkpoint.metadata,
      readBytes: (name, options) => source(name).readBytes(name, options),
      read: (name, options) => source(name).read(name, options),
      close: () => kept.close(),
    },
  };
}
