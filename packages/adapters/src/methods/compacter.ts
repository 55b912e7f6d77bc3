import { matMul, transpose, type Value } from "@loomweight/graph";
import {
  boolean,
  choice,
  integer,
  invalidOption,
  type OptionValues,
  positive,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import type { AdapterRandom, Params } from "../define.ts";
import { type BlockShape, defineBlockAdapter } from "../define-block.ts";
import { activate, activationOption, type Bottleneck } from "../maths/bottleneck.ts";
import { type PhmFactor, phmWeight, times } from "../maths/phm.ts";
import { copies, ofTask, sharingOption } from "../maths/tasks.ts";
import { bottleneckSize, firstNorms, needsTask, normShapes, taskInput, withNorms } from "./vl-adapter.ts";

const options = {
  reductionFactor: positive(16, "width / this = numbers between down and up, rounded down, at least 1"),
  parts: integer(4, "n: both projections are sums of n Kronecker products; divides width and bottleneck", { min: 1 }),
  form: choice(
    ["factored", "full", "lowRank"],
    "factored",
    "each W as left · right of rank `rank`, whole, or (no Kronecker product at all) the projection itself as left · right",
  ),
  rank: integer(1, "rank of the factored forms", { min: 1 }),
  rule: choice(
    ["model", "tasks", "own"],
    "model",
    "who shares the rule C [n, n, n]: all sites, tasks and projections; the tasks of a projection; nobody",
  ),
  factoredRule: boolean(false, "each C of rank 1: left [n, n, 1] · right [n, 1, n]"),
  ruleInit: choice(
    ["normal", "uniform"],
    "normal",
    "draws of C: normal with ruleDeviation; uniform in ±0.01 (own) or ±1 (shared)",
  ),
  ruleDeviation: positive(0.01, "deviation of a fresh rule; the Compacter paper's runs have 1e-4"),
  activation: activationOption("geluTanh"),
  tasks: integer(1, "how many tasks", { min: 1 }),
  sharing: sharingOption,
  normBefore: boolean(false, "a LayerNorm before the bottleneck, one for all tasks"),
  normAfter: boolean(false, "a LayerNorm behind it, one for all tasks"),
  init: choice(
    ["zero", "glorot"],
    "zero",
    "of the up-projection's W: zero (exactly the base at first), or drawn as down's",
  ),
};
/** Options of `compacter`, checked. */
export type CompacterOptions = OptionValues<typeof options>;

/**
 * Compacter: VL-Adapter's bottleneck whose projections are H [in, out] = Σᵢ Cᵢ ⊗ Wᵢ with n parts, y = x + (act(x H_d + b_d)) H_u + b_u.
 * Source: Mahabadi et al. 2021, arXiv:2106.04647; ylsung/VL_adapter at 545fcbb (Compacter and its low-rank baseline).
 * Differs: up starts at zero by default; the published code starts near the base.
 */
export const compacter = defineBlockAdapter({
  name: "compacter",
  source: "arXiv:2106.04647",
  scope: "block",
  options,
  params: (site, given) => ({ ...projectionShapes(site, given), ...normShapes(given, site.out) }),
  shared: (_sites, given): Readonly<Record<string, readonly number[]>> =>
    given.form !== "lowRank" && given.rule === "model" ? ruleShapes("rule", [], given) : {},
  initShared: (_sites, given, random): Readonly<Record<string, Tensor>> =>
    given.form !== "lowRank" && given.rule === "model"
      ? Object.fromEntries(
          Object.entries(ruleShapes("rule", [], given)).map(([name, shape]) => [
            name,
            drawRule(random, name, shape, given, true),
          ]),
        )
      : {},
  init: (site, given, { random }) => ({
    ...Object.fromEntries(
      Object.entries(projectionShapes(site, given)).map(([name, shape]) => [name, first(random, name, shape, given)]),
    ),
    ...firstNorms(given, site.out),
  }),
  inputs: ({ tasks, sharing, rule, form }) =>
    needsTask(tasks, sharing) || (tasks > 1 && rule === "own" && form !== "lowRank" && sharing !== "single")
      ? taskInput
      : {},
  generate: (site, { own, shared }, inputs, given) => {
    const norms = Object.keys(normShapes(given, site.out));
    const chosen: Record<string, Value> = { ...shared };
    for (const [name, value] of Object.entries<Value>(own))
      chosen[name] = norms.includes(name) ? value : ofTask(value, inputs.task ?? 0);
    return chosen;
  },
  apply: ({ output }, params, given) =>
    withNorms(output, params, (x) => {
      const hidden = activate(times(x, projection("down", params, given), params.downBias), given.activation);
      return times(hidden, projection("up", params, given), params.upBias);
    }),
});

type Side = "down" | "up";

/** H [in, out] of one projection, from one task's tensors. */
export function projection(side: Side, params: Params, given: CompacterOptions): Value {
  const [left, right] = [params[`${side}Left`], params[`${side}Right`]];
  if (given.form === "lowRank") return matMul(left, right);
  const factor: PhmFactor = params[`${side}W`] ?? { left, right };
  const name = given.rule === "model" ? "rule" : `${side}Rule`;
  const rule: PhmFactor = params[name] ?? { left: params[`${name}Left`], right: params[`${name}Right`] };
  return phmWeight(rule, factor);
}

/** One task's Compacter as a plain bottleneck, exactly: down = H_dᵀ, up = H_uᵀ. */
export function expandCompacter(params: Params, given: CompacterOptions): Bottleneck {
  return {
    down: transpose(projection("down", params, given), [1, 0]),
    downBias: params.downBias,
    up: transpose(projection("up", params, given), [1, 0]),
    upBias: params.upBias,
  };
}

function projectionShapes(site: BlockShape, given: CompacterOptions): Record<string, readonly number[]> {
  const { parts: n, rank: k, form } = given;
  const { out: width, path } = site;
  if (site.in !== width) {
    throw invalidOption(
      { option: "compacter.targets" },
      path,
      `modules as wide at the end as at the start, not ${site.in} to ${width}`,
    );
  }
  const r = bottleneckSize(width, given.reductionFactor);
  if (form !== "lowRank" && (width % n !== 0 || r % n !== 0)) {
    throw invalidOption({ option: "compacter.parts" }, n, `a divisor of the width ${width} and of the bottleneck ${r}`);
  }
  const count = copies(given.sharing, given.tasks);
  const shapes: Record<string, readonly number[]> = {};
  for (const [side, from, to] of [
    ["down", width, r],
    ["up", r, width],
  ] as const) {
    const tasks = count[side];
    shapes[`${side}Bias`] = [tasks, to];
    if (form === "lowRank") {
      shapes[`${side}Left`] = [tasks, from, k];
      shapes[`${side}Right`] = [tasks, k, to];
      continue;
    }
    if (form === "full") shapes[`${side}W`] = [tasks, n, from / n, to / n];
    else {
      shapes[`${side}Left`] = [tasks, n, from / n, k];
      shapes[`${side}Right`] = [tasks, n, k, to / n];
    }
    if (given.rule !== "model")
      Object.assign(shapes, ruleShapes(`${side}Rule`, [given.rule === "own" ? tasks : 1], given));
  }
  return shapes;
}

function ruleShapes(
  name: string,
  lead: readonly number[],
  { parts: n, factoredRule }: CompacterOptions,
): Record<string, readonly number[]> {
  return factoredRule
    ? { [`${name}Left`]: [...lead, n, n, 1], [`${name}Right`]: [...lead, n, 1, n] }
    : { [name]: [...lead, n, n, n] };
}

function drawRule(
  random: AdapterRandom,
  name: string,
  shape: readonly number[],
  given: CompacterOptions,
  shared: boolean,
): Tensor {
  const bound = shared ? 1 : 0.01;
  return given.ruleInit === "normal"
    ? random.normal(name, shape, given.ruleDeviation)
    : random.uniform(name, shape, -bound, bound);
}

function first(random: AdapterRandom, name: string, shape: readonly number[], given: CompacterOptions): Tensor {
  if (name.endsWith("Bias")) return zeros(shape);
  if (/Rule(Left|Right)?$/.test(name)) return drawRule(random, name, shape, given, given.rule === "tasks");
  // Of a factored up-projection one factor at zero is enough, and lets the other learn.
  if (given.init === "zero" && (name === "upW" || name === "upRight")) return zeros(shape);
  const [rows, columns] = shape.slice(-2);
  // Glorot, with the gain √2 of the published code.
  const bound = Math.sqrt(12 / (rows + columns));
  return random.uniform(name, shape, -bound, bound);
}
