import { type ModelFolder, planSafetensors } from "@loomweight/checkpoint";
import { folderFileSet, openModel } from "@loomweight/checkpoint/node";
import { byteLengthOf } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import { foldedCheckpoint } from "../fold/folded-checkpoint.ts";
import { foldCard } from "../fold/model-card.ts";
import { type FoldedTensor, type FoldPlan, type FoldPlanOptions, planFold } from "../fold/plan.ts";
import { cardFromFolders } from "./card.ts";
import { foldFacts } from "./fold-facts.ts";
import { withKeptBase } from "./kept-base.ts";
import { openAdapters } from "./open-adapters.ts";
import { type WriteModelOptions, writeModel } from "./write-model.ts";

export type { FoldProgress, WriteModelOptions } from "./write-model.ts";

export interface FoldModelOptions extends FoldPlanOptions, WriteModelOptions {
  /** Keep NaN and infinities instead of refusing them; default false. */
  readonly allowNonFinite?: boolean;
  /** Most bytes of one weights file; default 5 GB. */
  readonly maxShardBytes?: number;
  /**
   * Keep the base's bytes of what folding changes in a file of its own beside the weights (`base-weights.safetensors`),
   * so that unfolding gives them back without the base; default false.
   */
  readonly keepBase?: boolean;
  /** Which methods adapters may use; default all. */
  readonly methods?: readonly AdapterMethod[];
}

export interface FoldResult {
  readonly path: string;
  /** Names of the tensors that adapters changed or added. */
  readonly changed: readonly string[];
  readonly tensors: number;
  readonly bytes: number;
  /** Names of the files written. */
  readonly files: readonly string[];
  /** Tensors that an interrupted run had finished. */
  readonly tensorsKept: number;
  readonly warnings: readonly string[];
}

/**
 * Folds adapters (PEFT folders, or files of kohya or diffusers) into a model on disk, in the given order, and writes a folder with the same files: weights,
 * config.json, tokenizer and what else travels along, and a model card. Memory is bounded by tiles, not by tensors;
 * tensors that no adapter touches are copied byte for byte; results are rounded once. The output appears complete or
 * not at all; after an abort, a full disk, a failing read or a kill at any moment, `resume` continues with the tensors
 * that are missing, to the same bytes.
 * Throws what opening, `planFold`, `createOutputFolder` throw, `NON_FINITE` naming the tensor, and the signal's reason.
 */
export async function foldModel(
  basePath: string,
  adapterPaths: readonly string[],
  outPath: string,
  options: FoldModelOptions = {},
): Promise<FoldResult> {
  const opened: { close(): Promise<void> }[] = [];
  try {
    const base = await openModel(basePath);
    opened.push(base);
    const adapted = await openAdapters(adapterPaths, opened, { ...options, base: base.checkpoint });
    const { adapters, paths } = adapted;
    const plan = planFold({ checkpoint: base.checkpoint, config: base.config }, adapters, options);
    const warnings = [...adapted.warnings, ...plan.warnings, ...(await tokenizerWarnings(paths, base))];
    const { maxShardBytes, allowNonFinite } = options;
    const weights = planSafetensors(plan.tensors.values(), { maxShardBytes });
    const { layout, keptName } = options.keepBase
      ? withKeptBase(weights, plan, base, maxShardBytes)
      : { layout: weights, keptName: () => undefined };
    const folded = foldedCheckpoint(plan, { allowNonFinite });
    opened.push(folded);
    const written = await writeModel(
      outPath,
      {
        facts: await foldFacts("fold", {
          ...{ plan, layout, adapters, adapterPaths: paths, allowNonFinite },
          models: [base.checkpoint],
        }),
        layout,
        read: (name, range) => {
          const kept = keptName(name);
          return kept === undefined ? folded.readBytes(name, range) : base.checkpoint.readBytes(kept, range);
        },
        tileUnit: (name) => tileUnit(plan.tensors.get(name)),
        model: base,
        config: Object.keys(plan.config).length > 0 ? { ...base.config, ...plan.config } : undefined,
        card: () => cardFromFolders(foldCard, base, basePath, adapters, paths, warnings, options.dtype),
      },
      options,
    );
    return {
      path: outPath,
      changed: [...plan.tensors.values()].filter(isChanged(plan)).map(({ name }) => name),
      tensors: plan.tensors.size,
      ...written,
      warnings,
    };
  } finally {
    await Promise.allSettled(opened.map((each) => each.close()));
  }
}

/** Tokenizers that adapters bring along, which are not taken. */
async function tokenizerWarnings(paths: readonly string[], base: ModelFolder): Promise<string[]> {
  if (base.files.size === 0) return [];
  const warnings: string[] = [];
  for (const path of new Set(paths)) {
    const names = (await folderFileSet(path).catch(() => undefined))?.names ?? [];
    if (names.some((name) => /^(tokenizer|vocab|added_tokens)/.test(name))) {
      warnings.push(`${path}: has tokenizer files of its own; the base's are kept`);
    }
  }
  return warnings;
}

function isChanged(plan: FoldPlan): (tensor: FoldedTensor) => boolean {
  return ({ operations, source }) => operations.length > 0 || source.checkpoint !== plan.base;
}

/** Bytes that tiles of a tensor are multiples of: whole rows, as many as its methods work on. */
export function tileUnit(tensor: FoldedTensor | undefined): number {
  if (tensor === undefined) return 1;
  if (!Number.isFinite(tensor.rowMultiple)) return Number.POSITIVE_INFINITY;
  return byteLengthOf(tensor.dtype, tensor.rowLength) * tensor.rowMultiple;
}
