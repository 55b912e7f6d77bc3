import {
  type EvaDirections,
  type EvaOptions,
  type EvaStart,
  eva,
  evaDirections,
  evaOptions,
} from "@loomweight/adapters";
import type { Tensor } from "@loomweight/tensor";
import { layerInputs, type TokenMask } from "./layer-inputs.ts";
import { type DataStart, type DataStartOptions, type StartLayers, startLayers } from "./start-layers.ts";

/** Rank and alpha come from the adapter's own options. */
export interface EvaStartOptions extends DataStartOptions, TokenMask, Partial<Omit<EvaOptions, "rank" | "alpha">> {
  /** A direction has settled when its cosine with that of the batch before is at least this. Default 0.99. */
  readonly tau?: number;
  /** Batches after which the directions are taken as they are. Default 1000. */
  readonly maxBatches?: number;
  /** Take the mean out of the inputs. Default true. */
  readonly center?: boolean;
}

/** Options of `trainAdapter`, and what EVA found. */
export interface EvaAdapterStart extends DataStart, Pick<EvaDirections, "batches" | "unsettled"> {
  readonly start: EvaStart;
  readonly warnings: readonly string[];
}

/**
 * EVA on a model: runs it on batches until the directions of its layers' inputs have settled, and gives the adapter with
 * its ranks dealt out, its first A and the fields of its file: `trainAdapter({ …, ...await evaStart({ … }) })`. Layers
 * that get no rank are no longer targets; those that are not linear keep LoRA's usual start.
 * Throws what `evaDirections`, `eva` and `attach` throw.
 */
export async function evaStart(options: EvaStartOptions): Promise<EvaAdapterStart> {
  const { runtime, adapter, batches, tau = 0.99, maxBatches, center } = options;
  const { useLabelMask = true, labelMaskValue = -100 } = options;
  const layers = await startLayers(options, "eva");
  const linear = [...layers.linear.values()];
  const { rank, alpha } = layers.options;
  const { whiten, adjustScaling, rho, ...checked } = evaOptions({
    rho: options.rho,
    metric: options.metric,
    whiten: options.whiten,
    adjustScaling: options.adjustScaling,
    scaleBySingularValues: options.scaleBySingularValues,
    rank,
    alpha,
  });
  const source = layerInputs(layers.imported, layers.linear, runtime, { useLabelMask, labelMaskValue });
  let found: EvaDirections;
  try {
    found = await evaDirections(
      linear.map(({ path, layer, options: { rank: own } }) => ({ path, in: layer.in, rank: own })),
      source.rows,
      batches,
      { rho, tau, maxBatches, center, metric: checked.metric },
    );
  } finally {
    await source.close();
  }
  const start = eva(
    found.directions,
    { ...checked, rho, whiten, adjustScaling },
    {
      ranks: new Map(linear.map((each) => [each.path, each.options.rank])),
      alphas: new Map(linear.map((each) => [each.path, each.options.alpha])),
      owners: found.owners,
    },
  );
  const { rank: _, alpha: __, ...patterns } = adapter.patterns ?? {};
  const others = patternsOfOthers(layers);
  return {
    adapter: {
      ...adapter,
      options: { ...adapter.options, init: "eva" },
      targets: [...start.layers.keys(), ...layers.others.map(({ path }) => path)],
      exclude: undefined,
      layers: undefined,
      layersPattern: undefined,
      patterns: {
        ...patterns,
        rank: { ...start.rankPattern, ...others.rank },
        alpha: { ...start.alphaPattern, ...others.alpha },
      },
      config: {
        ...adapter.config,
        eva_config: {
          rho,
          tau,
          use_label_mask: useLabelMask,
          label_mask_value: labelMaskValue,
          whiten,
          adjust_scaling_factors: adjustScaling,
        },
      },
    },
    statistics: (path): Readonly<Record<string, Tensor>> | undefined => {
      const layer = start.layers.get(path);
      return layer && { components: layer.A };
    },
    start,
    batches: found.batches,
    unsettled: found.unsettled,
    warnings: warningsOf(found),
  };
}

/** Layers without directions keep the ranks and alphas they had. */
function patternsOfOthers({ others, options }: Pick<StartLayers, "others" | "options">): {
  rank: Record<string, number>;
  alpha: Record<string, number>;
} {
  const found: ReturnType<typeof patternsOfOthers> = { rank: {}, alpha: {} };
  for (const { path, options: own } of others) {
    if (own.rank !== options.rank) found.rank[path] = own.rank;
    if (own.alpha !== options.alpha) found.alpha[path] = own.alpha;
  }
  return found;
}

function warningsOf({ unsettled, skipped, batches }: EvaDirections): string[] {
  const lines: string[] = [];
  if (skipped > 0)
    lines.push(`eva: ${skipped} times a batch had fewer rows than a layer's directions and was left out`);
  if (unsettled.length > 0) {
    lines.push(
      `eva: after ${batches} batches the directions of ${unsettled.length} layers had not settled (${unsettled.slice(0, 3).join(", ")})`,
    );
  }
  return lines;
}
