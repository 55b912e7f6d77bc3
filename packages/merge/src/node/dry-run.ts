import { stat, statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type Checkpoint, planSafetensors } from "@loomweight/checkpoint";
import { elementCount } from "@loomweight/tensor";
import { estimateSeconds } from "../estimate.ts";
import { explainTensor, type TensorExplanation } from "../explain.ts";
import type { MergePlan } from "../plan/plan.ts";
import { documentName } from "../plan-checkpoints.ts";
import { type MergeModelOptions, mergeInputs } from "./merge-model.ts";
import { knownMethods } from "./method-reference.ts";
import { withOpenMerge } from "./open-merge.ts";

/** What a merge would do, from headers alone. */
export interface DryRun {
  readonly method: string;
  /** Of each model that is read: how the recipe spells it, and the bytes of its weights. */
  readonly models: readonly { readonly reference: string; readonly bytes: number }[];
  /** The documents of the recipe that are computed on the way, by name. */
  readonly documents: readonly string[];
  readonly tensors: number;
  /** Of these: copied bit for bit. */
  readonly copied: number;
  readonly parameters: number;
  /** The dtypes that tensors are stored in, those with most parameters first. */
  readonly dtypes: readonly string[];
  /** What config.json says otherwise than that of the model it is taken from: the first, then the second. */
  readonly config: Readonly<Record<string, readonly [unknown, unknown]>>;
  /** Bytes of the output's weights, and its files. */
  readonly bytes: number;
  readonly files: readonly string[];
  /** Bytes that are free where the output would lie; undefined where no output was named or it cannot be told. */
  readonly bytesFree: number | undefined;
  /** About how long it takes on one thread. */
  readonly seconds: number;
  /** What speaks against running it as it is: an output that exists, a full disk. */
  readonly conflicts: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Plans a merge and says what it would do: nothing is written and no weights are read. A recipe that cannot be merged
 * throws as `mergeModel` does.
 */
export async function dryRunMerge(
  recipe: string | object,
  outPath: string | undefined,
  options: Pick<MergeModelOptions, "methods" | "folder" | "target" | "maxShardBytes" | "force"> = {},
): Promise<DryRun> {
  const known = await knownMethods(options.methods);
  return withOpenMerge(await mergeInputs(recipe, options, known), async ({ plan, methods, models, adapters }) => {
    const layout = planSafetensors(plan.tensors, { maxShardBytes: options.maxShardBytes });
    const bytes = layout.files.reduce((sum, { size }) => sum + size, 0);
    const bytesOf = ({ tensors }: Pick<Checkpoint, "tensors">) =>
      [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const sources = [
      ...[...models].map(([reference, { folder }]) => ({ reference, bytes: bytesOf(folder.checkpoint) })),
      ...[...adapters].map(([reference, { checkpoint }]) => ({ reference, bytes: bytesOf(checkpoint) })),
    ];
    const bytesFree = outPath === undefined ? undefined : await freeBytes(outPath);
    const read = sources.reduce((sum, source) => sum + source.bytes, 0);
    return {
      method: plan.method,
      models: sources,
      documents: documentsOf(plan),
      tensors: plan.tensors.length,
      copied: plan.tensors.filter(({ copy }) => copy !== undefined).length,
      parameters: plan.tensors.reduce((sum, { shape }) => sum + shape.reduce((all, size) => all * size, 1), 0),
      dtypes: dtypesOf(plan),
      config: configChanges(plan, models.get(plan.models[plan.donor])?.folder.config),
      bytes,
      files: layout.files.map(({ name }) => name),
      bytesFree,
      seconds: await estimateSeconds(plan, methods, { read, written: bytes }),
      conflicts: await conflictsOf(outPath, bytes, bytesFree, options.force),
      warnings: plan.warnings,
    };
  });
}

/** How one tensor of a recipe's output comes about. Nothing but headers is read. Throws as `mergeModel`, `UNKNOWN_TENSOR`. */
export async function explainMerge(
  recipe: string | object,
  tensor: string,
  options: Pick<MergeModelOptions, "methods" | "folder" | "target"> = {},
): Promise<TensorExplanation> {
  const known = await knownMethods(options.methods);
  return withOpenMerge(await mergeInputs(recipe, options, known), async ({ plan, methods }) =>
    explainTensor(plan, tensor, methods),
  );
}

function dtypesOf({ tensors }: MergePlan): string[] {
  const counts = new Map<string, number>();
  for (const { dtype, shape } of tensors) counts.set(dtype, (counts.get(dtype) ?? 0) + elementCount(shape));
  return [...counts].sort(([, a], [, b]) => b - a).map(([dtype]) => dtype);
}

/** Empty where the configuration is that of a document, which has said its own. */
function configChanges(
  { config }: MergePlan,
  before: Readonly<Record<string, unknown>> | undefined,
): Record<string, readonly [unknown, unknown]> {
  if (config === undefined || before === undefined) return {};
  const keys = [...new Set([...Object.keys(before), ...Object.keys(config)])];
  const changed = keys.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(config[key]));
  return Object.fromEntries(changed.map((key) => [key, [before[key] ?? null, config[key] ?? null]]));
}

/** Names of the documents below a plan, each once. */
function documentsOf(plan: MergePlan): string[] {
  const names = new Set<string>();
  const visit = (each: MergePlan): void => {
    for (const [index, document] of Object.entries(each.documents ?? {})) {
      const name = documentName(each.models[Number(index)], each.adapters?.[Number(index)]);
      if (names.has(name)) continue;
      names.add(name);
      visit(document);
    }
  };
  visit(plan);
  return [...names];
}

async function conflictsOf(
  outPath: string | undefined,
  bytes: number,
  bytesFree: number | undefined,
  force: boolean | undefined,
): Promise<string[]> {
  if (outPath === undefined) return [];
  const conflicts: string[] = [];
  if (force !== true && (await exists(outPath))) conflicts.push(`${outPath} exists: --force (force: true) replaces it`);
  if (bytesFree !== undefined && bytesFree < bytes) {
    conflicts.push(`the disk has ${bytesFree} bytes free where ${outPath} would lie, ${bytes} are needed`);
  }
  return conflicts;
}

/** Free bytes of the disk that a path would lie on. */
async function freeBytes(path: string): Promise<number | undefined> {
  let folder = resolve(path);
  while (!(await exists(folder)) && dirname(folder) !== folder) folder = dirname(folder);
  const facts = await statfs(folder).catch(() => undefined);
  return facts === undefined ? undefined : facts.bavail * facts.bsize;
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
