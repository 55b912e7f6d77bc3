import { add, mul, type Value } from "@loomweight/graph";
import { choice, finite, integer, invalidOption, type OptionSpec, type OptionValues } from "@loomweight/tensor";
import { defineBlockAdapter } from "../define-block.ts";
import { type Bottleneck, bottleneck, bottleneckShapes, xavierBottleneck } from "../maths/bottleneck.ts";

const notZero: OptionSpec<number> = {
  ...finite(1, "the adapter's output is multiplied by this plain number"),
  range: "a finite number other than 0",
  check: (value, place) => {
    const alpha = finite(undefined, "").check(value, place);
    if (alpha === 0) throw invalidOption(place, value, "a finite number other than 0");
    return alpha;
  },
};
const options = {
  rank: integer(16, "numbers between down and up: the capacity", { min: 1 }),
  alpha: notZero,
  init: choice(
    ["zero", "small"],
    "zero",
    "up and its bias: zero (exactly the base at first), or normal with deviation 1e-4",
  ),
};
/** Options of `adapterTune`, checked. */
export type AdapterTuneOptions = OptionValues<typeof options>;

/**
 * AdapterTune (ZILA): behind frozen transformer blocks x ← x + alpha · up( GELU( down(x) ) ), down [rank, d], up [d, rank],
 * GELU exact, no norm and no dropout. Sites are whole blocks (`post-block`, the published code); on `blocks.i.attn` or
 * `blocks.i.mlp` it is the classical adapter inside the residual. `everySite` picks 0, every, 2 · every, ….
 * Source: arXiv:2603.14706, 2026; salimkhazem/adaptertune at 8124bc8 (facts only).
 */
export const adapterTune = defineBlockAdapter({
  name: "adaptertune",
  source: "arXiv:2603.14706",
  scope: "block",
  options,
  params: ({ in: width, out, path }, { rank }) => {
    if (width === out) return bottleneckShapes(out, rank);
    throw invalidOption(
      { option: "adaptertune.targets" },
      path,
      `modules as wide at the end as at the start, not ${width} to ${out}`,
    );
  },
  init: ({ out }, { rank, init }, { random }) => ({
    ...xavierBottleneck(random, out, rank),
    ...(init === "small"
      ? { up: random.normal("up", [out, rank], 1e-4), upBias: random.normal("upBias", [out], 1e-4) }
      : {}),
  }),
  apply: ({ output }, params, { alpha }) =>
    add(output, mul(bottleneck(output, params as unknown as Bottleneck<Value>, "gelu"), alpha)),
});

/** The blocks that are adapted of `count`: 0, every, 2 · every, …. Throws `INVALID_OPTION`. */
export function everySite(count: number, every: number): number[] {
  integer(undefined, "", { min: 1 }).check(every, { option: "every" });
  return Array.from({ length: Math.ceil(count / every) }, (_, i) => i * every);
}
