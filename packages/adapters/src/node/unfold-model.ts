import { type Checkpoint, type ModelFolder, planSafetensors } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { isFloat } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import { compareFolded } from "../fold/compare-folded.ts";
import { foldAdapters } from "../fold/folded-checkpoint.ts";
import { unfoldCard } from "../fold/model-card.ts";
import type { FoldPlan } from "../fold/plan.ts";
import { unfoldAdapters } from "../fold/unfolded-checkpoint.ts";
import type { Adapter } from "../peft/adapter.ts";
import { cardFromFolders } from "./card.ts";
import { foldFacts } from "./fold-facts.ts";
import { tileUnit } from "./fold-model.ts";
import { openKeptBase } from "./kept-base.ts";
import { openAdapters } from "./open-adapters.ts";
import { type WriteModelOptions, writeModel } from "./write-model.ts";

export interface UnfoldModelOptions extends WriteModelOptions {
  /**
   * The model that the adapters were folded into: its bytes come back, once folding it again gives the folded model.
   * Default: what the folded model's folder keeps of it (`keepBase`); without either, arithmetic.
   */
  readonly base?: string;
  /** With a base: accept a folded model that differs by rounding alone, as when another tool made it; default false. */
  readonly allowRounding?: boolean;
  /** Keep NaN and infinities instead of refusing them; default false. */
  readonly allowNonFinite?: boolean;
  /** Most bytes of one weights file; default 5 GB. */
  readonly maxShardBytes?: number;
  /** Which methods adapters may use; default all. */
  readonly methods?: readonly AdapterMethod[];
}

export interface UnfoldResult {
  readonly path: string;
  /**
   * Where the weights come from: the base that was given or that the folded model kept, which are its exact bytes, or
   * arithmetic.
   */
  readonly from: "base" | "kept" | "arithmetic";
  /** Names of the tensors that adapters had changed. */
  readonly changed: readonly string[];
  readonly tensors: number;
  readonly bytes: number;
  readonly files: readonly string[];
  readonly tensorsKept: number;
  readonly warnings: readonly string[];
}

/** What unfolding writes. */
interface Unfolded {
  readonly from: UnfoldResult["from"];
  readonly checkpoint: Checkpoint;
  readonly plan: FoldPlan;
  /** Whose companion files go along. */
  readonly model: ModelFolder;
  readonly warnings: readonly string[];
  close(): Promise<void>;
}

/**
 * Takes adapters out of a folded model: `adapterPaths` are those that were folded, in that order. With the base, given
 * or kept, its exact bytes come back, after it is checked that folding them again gives the folded model, byte for
 * byte. Without it the weights are computed: equal to the base's up to two roundings (`unfoldAdapters` says how close),
 * and what folding forgot is refused by name.
 * Throws `NOT_FOLDED_FROM` where the base or an adapter is another one, `UNSUPPORTED_ADAPTER`, and as `foldModel`.
 */
export async function unfoldModel(
  foldedPath: string,
  adapterPaths: readonly string[],
  outPath: string,
  options: UnfoldModelOptions = {},
): Promise<UnfoldResult> {
  const opened: { close(): Promise<void> }[] = [];
  try {
    const folded = await openModel(foldedPath);
    opened.push(folded);
    const { adapters, paths } = await openAdapters(adapterPaths, opened, { ...options, base: folded.checkpoint });
    const unfolded = await unfold(folded, foldedPath, adapters, options);
    opened.push(unfolded);
    const { checkpoint, plan, model, from, warnings } = unfolded;
    const layout = planSafetensors(checkpoint.tensors.values(), {
      maxShardBytes: options.maxShardBytes,
      metadata: from === "base" ? checkpoint.metadata : undefined,
    });
    const written = await writeModel(
      outPath,
      {
        facts: await foldFacts("unfold", {
          ...{ plan, layout, adapters, adapterPaths: paths, allowNonFinite: options.allowNonFinite },
          models: from === "arithmetic" ? [folded.checkpoint] : [checkpoint],
        }),
        layout,
        read: checkpoint.readBytes,
        tileUnit: (name) => (from === "arithmetic" ? tileUnit(plan.tensors.get(name)) : 1),
        model,
        config: from === "kept" && Object.keys(plan.config).length > 0 ? model.config : undefined,
        card: () =>
          cardFromFolders(
            (facts) => unfoldCard(facts, from !== "arithmetic"),
            ...([folded, foldedPath, adapters, paths, warnings] as const),
          ),
      },
      options,
    );
    const changed = [...plan.tensors.values()]
      .filter(({ operations, source }) => operations.length > 0 || source.checkpoint !== plan.base)
      .map(({ name }) => name);
    return { path: outPath, from, changed, tensors: checkpoint.tensors.size, ...written, warnings };
  } finally {
    await Promise.allSettled(opened.map((each) => each.close()));
  }
}

async function unfold(
  folded: ModelFolder,
  foldedPath: string,
  adapters: readonly Adapter[],
  options: UnfoldModelOptions,
): Promise<Unfolded> {
  const given = options.base === undefined ? undefined : await openModel(options.base);
  const base = given ?? (await openKeptBase(foldedPath, folded));
  if (base === undefined) {
    const { checkpoint, plan } = unfoldAdapters(
      { checkpoint: folded.checkpoint, config: folded.config },
      adapters,
      options,
    );
    return {
      ...{ from: "arithmetic", checkpoint, plan, model: folded, close: () => checkpoint.close() },
      warnings: [...plan.warnings, arithmeticNote(plan)],
    };
  }
  const close = () => (given === undefined ? base.checkpoint.close() : given.close());
  try {
    const model = given ?? { ...folded, checkpoint: base.checkpoint, config: base.config };
    const again = foldAdapters({ checkpoint: base.checkpoint, config: base.config }, adapters, {
      allowNonFinite: options.allowNonFinite,
      dtype: dtypeOf(folded.checkpoint, base.checkpoint),
    });
    const { rounded } = await compareFolded(folded.checkpoint, again.checkpoint, options);
    await again.checkpoint.close();
    const warnings = [...again.plan.warnings];
    if (rounded.length > 0) {
      warnings.push(`${rounded.length} tensors of ${foldedPath} differ from folding the base by rounding alone`);
    }
    const from = given === undefined ? "kept" : "base";
    return { from, checkpoint: base.checkpoint, plan: again.plan, model, warnings, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The dtype that the folded model was written in, where it is another than the base's. */
function dtypeOf(folded: Checkpoint, base: Checkpoint): "float32" | "float16" | "bfloat16" | undefined {
  for (const { name, dtype } of base.tensors.values()) {
    const own = folded.tensors.get(name)?.dtype;
    if (!isFloat(dtype) || own === undefined || own === dtype) continue;
    if (own === "float32" || own === "float16" || own === "bfloat16") return own;
  }
  return undefined;
}

const relativeUnits: Readonly<Record<string, string>> = {
  float64: "2^-53",
  float32: "2^-24",
  float16: "2^-11",
  bfloat16: "2^-8",
  float8_e4m3fn: "2^-4",
  float8_e5m2: "2^-3",
};

/** What arithmetic can promise, by dtype. */
function arithmeticNote(plan: FoldPlan): string {
  const dtypes = [
    ...new Set([...plan.tensors.values()].filter(({ operations }) => operations.length > 0).map(({ dtype }) => dtype)),
  ];
  const bounds = dtypes.map((dtype) => `${dtype}: ${relativeUnits[dtype] ?? "half a unit in the last place"}`);
  return `unfolded by arithmetic, not to the base's exact bytes: an entry may differ by this share of its folded and of its own value (${bounds.join(", ")})`;
}
