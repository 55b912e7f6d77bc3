import { add, type Value } from "@loomweight/graph";
import {
  boolean,
  choice,
  full,
  integer,
  invalidOption,
  type OptionValues,
  positive,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import type { AdapterRandom, Params } from "../define.ts";
import { type BlockInitContext, defineBlockAdapter } from "../define-block.ts";
import { activationOption, type Bottleneck, bottleneck, normOf } from "../maths/bottleneck.ts";
import { copies, ofTask, sharingOption } from "../maths/tasks.ts";

const options = {
  reductionFactor: positive(16, "width / this = numbers between down and up, rounded down, at least 1"),
  activation: activationOption("geluTanh"),
  tasks: integer(1, "how many tasks", { min: 1 }),
  sharing: sharingOption,
  normBefore: boolean(false, "a LayerNorm before the bottleneck, one for all tasks"),
  normAfter: boolean(false, "a LayerNorm behind it, one for all tasks"),
  init: choice(
    ["mam", "bert", "houlsby", "torch"],
    "mam",
    "mam: Kaiming down, zero up (exactly the base at first); bert: normal 0.02; houlsby: normal 0.01 cut at 0.02; torch: uniform in ±1/√in",
  ),
};
/** Options of `vlAdapter`, checked. */
export type VlAdapterOptions = OptionValues<typeof options>;
type VlAdapterName = keyof Bottleneck | "preNormWeight" | "preNormBias" | "postNormWeight" | "postNormBias";

/**
 * VL-Adapter: a bottleneck on the output of each sub-layer, before dropout, residual and norm:
 * y = x + LN_post( up( act( down( LN_pre(x) ) ) ) ), down [tasks or 1, r, d], up [tasks or 1, d, r]; tasks share nothing, one
 * projection, or everything. With several tasks the adapted model has an input `task`, int64 [].
 * Source: Sung et al. 2021, arXiv:2112.06825 (adapter: Houlsby et al. 2019, arXiv:1902.00751); ylsung/VL_adapter at 545fcbb.
 */
export const vlAdapter = defineBlockAdapter({
  name: "vl-adapter",
  source: "arXiv:2112.06825",
  scope: "block",
  options,
  params: ({ in: width, out, path }, given): { readonly [K in VlAdapterName]?: readonly number[] } => {
    if (width !== out)
      throw invalidOption(
        { option: "vl-adapter.targets" },
        path,
        `modules as wide at the end as at the start, not ${width} to ${out}`,
      );
    const r = bottleneckSize(out, given.reductionFactor);
    const count = copies(given.sharing, given.tasks);
    return {
      down: [count.down, r, out],
      downBias: [count.down, r],
      up: [count.up, out, r],
      upBias: [count.up, out],
      ...normShapes(given, out),
    };
  },
  init: ({ out }, given, context) => ({
    ...firstProjections(out, bottleneckSize(out, given.reductionFactor), given, context),
    ...firstNorms(given, out),
  }),
  inputs: ({ tasks, sharing }) => (needsTask(tasks, sharing) ? taskInput : {}),
  generate: (_site, { own }, inputs) =>
    Object.fromEntries(
      Object.entries<Value>(own).map(([name, value]) => [
        name,
        name.startsWith("pre") || name.startsWith("post") ? value : ofTask(value, inputs.task ?? 0),
      ]),
    ),
  apply: ({ output }, params, { activation }) =>
    withNorms(output, params, (x) => bottleneck(x, params as unknown as Bottleneck, activation)),
});

/** The number of the task, in the order in which they were named. */
export const taskInput = { task: { dtype: "int64", shape: [] } } as const;

export function needsTask(tasks: number, sharing: VlAdapterOptions["sharing"]): boolean {
  return tasks > 1 && sharing !== "single";
}

/** ⌊width / factor⌋, at least 1. */
export function bottleneckSize(width: number, factor: number): number {
  return Math.max(1, Math.floor(width / factor));
}

/** y = x + LN_post( change( LN_pre(x) ) ), with the norms that are among the parameters; ε 1e-5. */
export function withNorms(x: Value, params: Params, change: (read: Value) => Value): Value {
  const read = params.preNormWeight === undefined ? x : normOf(x, params.preNormWeight, params.preNormBias);
  const changed = change(read);
  return add(
    x,
    params.postNormWeight === undefined ? changed : normOf(changed, params.postNormWeight, params.postNormBias),
  );
}

type Norms = { readonly normBefore: boolean; readonly normAfter: boolean };
export function normShapes({ normBefore, normAfter }: Norms, width: number): Record<string, readonly number[]> {
  return {
    ...(normBefore ? { preNormWeight: [width], preNormBias: [width] } : {}),
    ...(normAfter ? { postNormWeight: [width], postNormBias: [width] } : {}),
  };
}
export function firstNorms(given: Norms, width: number): Record<string, Tensor> {
  return Object.fromEntries(
    Object.keys(normShapes(given, width)).map((name) => [
      name,
      name.endsWith("Weight") ? full([width], 1) : zeros([width]),
    ]),
  );
}

function firstProjections(
  width: number,
  r: number,
  { init, sharing, tasks }: VlAdapterOptions,
  { random }: BlockInitContext,
): Record<string, Tensor> {
  const count = copies(sharing, tasks);
  const shapes = {
    down: [count.down, r, width],
    downBias: [count.down, r],
    up: [count.up, width, r],
    upBias: [count.up, width],
  };
  const [narrow, wide] = [1 / Math.sqrt(width), 1 / Math.sqrt(r)];
  const zero = { downBias: zeros(shapes.downBias), upBias: zeros(shapes.upBias) };
  switch (init) {
    case "mam":
      return { ...zero, down: random.uniform("down", shapes.down, -narrow, narrow), up: zeros(shapes.up) };
    case "bert":
      return { ...zero, down: random.normal("down", shapes.down, 0.02), up: random.normal("up", shapes.up, 0.02) };
    case "houlsby":
      return { ...zero, down: truncated(random, "down", shapes.down), up: truncated(random, "up", shapes.up) };
    case "torch":
      return {
        down: random.uniform("down", shapes.down, -narrow, narrow),
        downBias: random.uniform("downBias", shapes.downBias, -narrow, narrow),
        up: random.uniform("up", shapes.up, -wide, wide),
        upBias: random.uniform("upBias", shapes.upBias, -wide, wide),
      };
  }
}

/** Normal with deviation 0.01, drawn again beyond ±0.02; what is still beyond after eight draws is cut. */
function truncated(random: AdapterRandom, name: string, shape: readonly number[]): Tensor {
  const first = random.normal(name, shape, 0.01);
  const data = first.data as Float32Array;
  for (let round = 1; round < 8 && data.some((value) => Math.abs(value) > 0.02); round++) {
    const again = random.normal(`${name}/${round}`, shape, 0.01).data as Float32Array;
    for (let i = 0; i < data.length; i++) if (Math.abs(data[i]) > 0.02) data[i] = again[i];
  }
  for (let i = 0; i < data.length; i++) data[i] = Math.max(-0.02, Math.min(0.02, data[i]));
  return first;
}
