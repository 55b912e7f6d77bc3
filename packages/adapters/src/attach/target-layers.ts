import type { Checkpoint } from "@loomweight/checkpoint";
import type { ImportedModel } from "@loomweight/graph";
import type { OptionSpecs, OptionValues } from "@loomweight/tensor";
import { linearTargets } from "./all-linear.ts";
import { chooseSites } from "./choose.ts";
import { findLayers, type LayerSite } from "./layers.ts";
import { type AdapterSpec, optionsOf, prepareSpec } from "./spec.ts";

/** A layer that a fresh adapter would change. */
export interface TargetLayer {
  readonly path: string;
  /** Its uses in the graph: one, or several of one weight. */
  readonly sites: readonly LayerSite[];
  /** The method's options for it. */
  readonly options: OptionValues<OptionSpecs>;
}

/** The layers that a specification selects, in the order of the graph. Throws as `attach`. */
export function targetLayers(
  imported: ImportedModel,
  checkpoint: Checkpoint | undefined,
  spec: AdapterSpec,
): readonly TargetLayer[] {
  const found = findLayers(imported, checkpoint);
  const prepared = prepareSpec(spec, () => linearTargets(imported, found));
  const sites = new Map<string, LayerSite[]>();
  for (const site of chooseSites(prepared, found)) sites.set(site.path, [...(sites.get(site.path) ?? []), site]);
  return [...sites].map(([path, own]) => ({ path, sites: own, options: optionsOf(prepared, path) }));
}
