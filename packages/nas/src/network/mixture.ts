import { add, div, layerNormalization, mul, named, reduceMean, sqrt, type Value } from "@loomweight/graph";
import { type Parameters, parameterName, parameterOf } from "@loomweight/graph/nn";
import { unknownName } from "@loomweight/tensor";
import { type Probabilities, probabilitiesOf } from "../entangle/probabilities.ts";
import { superpose } from "../entangle/superpose.ts";
import { type Axis, decisionsOf } from "../space/axis.ts";
import { type Decision, largest } from "../space/choice.ts";
import type { Space } from "../space/space.ts";
import { mixAttention, superposeAttention, widthsOf } from "./attention.ts";
import type { Network } from "./network.ts";
import { normalizeWidths } from "./norm.ts";
import { pick } from "./pick.ts";

/** How layers that are not linear are mixed. */
export interface MixtureOptions {
  /**
   * "explicit" (default): the sum of the normalizations of every width, so that a choice of probability 1 is that
   * network. "superpose", as the reference: weight and bias are mixed, statistics are those of the full width.
   */
  readonly layerNorm?: "explicit" | "superpose";
  /** "explicit" (default): Σ_h p_h Attn_h. "superpose", as the reference: probabilities multiply q, k and v. */
  readonly attention?: "explicit" | "superpose";
}

/**
 * The mixture of all networks of a space by probabilities: one network of the largest's size. `weights` are the
 * largest's, by the names of the space; others are passed on as they are.
 */
export function mixtureNetwork(
  space: Space,
  weights: Parameters,
  probabilities: Probabilities,
  { layerNorm = "explicit", attention = "explicit" }: MixtureOptions = {},
): Network {
  const superposed: Record<string, Value> = { ...weights };
  for (const [name, spec] of Object.entries(space.parameters)) {
    if (weights[name] !== undefined)
      superposed[name] = named(name, () => superpose(weights[name], spec, probabilities, name));
  }
  const of = (decision: Decision) => probabilitiesOf(probabilities, decision);
  const norm = (layer: string, x: Value, epsilon: number, centre: boolean): Value => {
    const weight = parameterOf(superposed, layer, "weight");
    const bias = superposed[parameterName(layer, "bias")];
    const axis = axisOf(space, parameterName(layer, "weight"));
    return named(layer, () => {
      const decided = axis !== undefined && decisionsOf(axis).length > 0;
      if (!decided || layerNorm === "superpose") return plainNorm(x, weight, bias, epsilon, centre);
      // pad(LN_j) carries weight[:d_j] once: the largest weight, since the sum over j already carries p_j.
      const mixed = mul(
        normalizeWidths(x, axis, probabilities, { epsilon, centre }),
        parameterOf(weights, layer, "weight"),
      );
      return bias === undefined ? mixed : add(mixed, bias);
    });
  };
  return {
    space,
    weights: superposed,
    size: (decision) => (typeof decision === "number" ? decision : largest(decision)),
    mix(decision, candidate) {
      const p = of(decision);
      return decision.choices
        .map((choice, j) => mul(candidate(choice, j), pick(p, j)))
        .reduce((sum, each) => add(sum, each));
    },
    stack(depth, x, block) {
      if (typeof depth === "number") return stackBlocks(depth, x, block);
      const p = of(depth);
      let mixed: Value | undefined;
      let h = x;
      for (let index = 0; index <= largest(depth); index++) {
        const j = depth.choices.indexOf(index);
        if (j >= 0) {
          const part = mul(h, pick(p, j));
          mixed = mixed === undefined ? part : add(mixed, part);
        }
        if (index < largest(depth)) h = block(h, index);
      }
      return mixed as Value;
    },
    layerNorm: (layer, x, { epsilon = 1e-5 } = {}) => norm(layer, x, epsilon, true),
    rmsNorm: (layer, x, { epsilon = 1e-6 } = {}) => norm(layer, x, epsilon, false),
    attention(q, k, v, options) {
      const { heads, width } = options;
      const widths = widthsOf(width, q, heads);
      const [deciding] = decisionsOf(width);
      const byWidth = { choices: widths, ...(widths.length > 1 && { weight: of(deciding) }) };
      const byHeads =
        typeof heads === "number"
          ? { choices: [heads] }
          : decisionsOf(width).some(({ name }) => name === heads.name)
            ? { choices: [largest(heads)] } // of a fixed size: heads beyond the decided number have v = 0
            : { choices: heads.choices, weight: of(heads) };
      const mixed = attention === "superpose" ? superposeAttention : mixAttention;
      return mixed(q, k, v, byHeads, byWidth, options);
    },
  };
}

export function stackBlocks(count: number, x: Value, block: (x: Value, index: number) => Value): Value {
  let h = x;
  for (let index = 0; index < count; index++) h = block(h, index);
  return h;
}

export function plainNorm(x: Value, weight: Value, bias: Value | undefined, epsilon: number, centre: boolean): Value {
  if (centre) return layerNormalization(x, weight, bias, { epsilon, axis: -1 });
  const square = reduceMean(mul(x, x), [x.shape.length - 1]);
  const scaled = mul(div(x, sqrt(add(square, epsilon))), weight);
  return bias === undefined ? scaled : add(scaled, bias);
}

/** The one axis of a vector parameter of the space. */
function axisOf({ parameters }: Space, name: string): Axis | undefined {
  const spec = parameters[name];
  if (spec === undefined)
    throw unknownName({ kind: "parameter", name, known: Object.keys(parameters), code: "UNKNOWN_PARAMETER" });
  return spec.axes[0];
}
