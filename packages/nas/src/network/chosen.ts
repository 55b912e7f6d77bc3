import { mul, named, type Value } from "@loomweight/graph";
import { type Parameters, parameterName, parameterOf } from "@loomweight/graph/nn";
import { sliceValue } from "../entangle/slice.ts";
import { decisionsOf } from "../space/axis.ts";
import { type Architecture, chosenIndex, type Decision } from "../space/choice.ts";
import { checkArchitecture, decisionsOfParameter, exists, type Space } from "../space/space.ts";
import { chosenAttention } from "./attention.ts";
import { type MixtureOptions, plainNorm, stackBlocks } from "./mixture.ts";
import type { Network } from "./network.ts";

/**
 * One network of a space. `weights` are the largest network's, of which it takes its slices, or its own. `shares` (the
 * probability of each decision's choice, a value [1] that is 1) multiply what they choose, so that gradients reach them
 * as they do in the mixture: what a one-hot choice computes at the cost of the small network.
 */
export function chosenNetwork(
  space: Space,
  weights: Parameters,
  architecture: Architecture,
  { shares, attention = "explicit" }: { readonly shares?: Readonly<Record<string, Value>> } & MixtureOptions = {},
): Network {
  checkArchitecture(space, architecture);
  const shareOf = (decisions: readonly Decision[]): Value | undefined =>
    shares === undefined || decisions.length === 0
      ? undefined
      : decisions.map(({ name }) => shares[name]).reduce((all, each) => mul(all, each));
  const shared = (x: Value, decisions: readonly Decision[]) => {
    const share = shareOf(decisions);
    return share === undefined ? x : mul(x, share);
  };
  const own: Record<string, Value> = { ...weights };
  for (const [name, spec] of Object.entries(space.parameters)) {
    if (weights[name] === undefined) continue;
    if (!exists(spec, architecture)) {
      delete own[name];
      continue;
    }
    const decisions = [...decisionsOfParameter(spec), ...(spec.joint ?? [])];
    own[name] = named(name, () => shared(sliceValue(weights[name], spec, architecture, name), decisions));
  }
  const sizeOf = (decision: Decision | number) =>
    typeof decision === "number" ? decision : decision.choices[chosenIndex(decision, architecture)];
  const norm = (layer: string, x: Value, epsilon: number, centre: boolean) => {
    const bias = own[parameterName(layer, "bias")];
    return named(layer, () => plainNorm(x, parameterOf(own, layer, "weight"), bias, epsilon, centre));
  };
  return {
    space,
    weights: own,
    size: sizeOf,
    mix(decision, candidate) {
      const index = chosenIndex(decision, architecture);
      return shared(candidate(decision.choices[index], index), [decision]);
    },
    stack(depth, x, block) {
      const h = stackBlocks(sizeOf(depth), x, block);
      return typeof depth === "number" ? h : shared(h, [depth]);
    },
    layerNorm: (layer, x, { epsilon = 1e-5 } = {}) => norm(layer, x, epsilon, true),
    rmsNorm: (layer, x, { epsilon = 1e-6 } = {}) => norm(layer, x, epsilon, false),
    attention(q, k, v, options) {
      const { heads, width } = options;
      const byWidth = decisionsOf(width);
      const ofFixedSize = typeof heads !== "number" && byWidth.some(({ name }) => name === heads.name);
      if (ofFixedSize) return chosenAttention(q, k, v, sizeOf(heads), options);
      const byHeads = typeof heads === "number" ? [] : [heads];
      const all = attention === "superpose";
      return chosenAttention(q, k, v, sizeOf(heads), options, {
        inputs: shareOf(all ? [...byHeads, ...byWidth] : byWidth),
        output: shareOf(all ? [] : byHeads),
      });
    },
  };
}
