import { choice, nonNegative, type OptionValues, type Tensor, unitInterval } from "@loomweight/tensor";
import { defineShiftMethod } from "../define.ts";
import type { GraphClassifier } from "../graph-classifier.ts";
import { missingNorms } from "../missing-norms.ts";
import { prefixed, stateValuesOf } from "../optimizer-step.ts";
import { predicted } from "../predicted.ts";
import type { Workbench } from "../workbench.ts";

const options = {
  mode: choice(
    ["batch", "prior", "running"],
    "batch",
    "statistics of the batch, blended with the recorded ones, or moving",
  ),
  priorCount: nonNegative(16, "prior: the recorded statistics weigh as much as so many samples"),
  momentum: unitInterval(0.1, "running: share of the batch in the new running statistics"),
};
type Options = OptionValues<typeof options>;

const prefix = "statistics/";

/**
 * BN-adapt: batch normalizations use mean and variance of what they see, γ and β stay. `batch`: those of the batch
 * (biased variance); `prior`: N / (N + n) of the recorded ones and n / (N + n) of the batch, n its samples; `running`:
 * a pass that moves the running ones by `momentum` (unbiased variance), then the network with those.
 * Source: Li et al. 2016, arXiv:1603.04779; Nado et al. 2020 and Schneider et al. 2020, arXiv:2006.10963, 2006.16971.
 */
export const bnAdapt = defineShiftMethod({
  name: "bn-adapt",
  source: "arXiv:1603.04779",
  summary: "Batch normalizations take mean and variance from the batches they meet; no gradient.",
  options,
  async init(model: GraphClassifier, { mode }: Options): Promise<Readonly<Record<string, Tensor>>> {
    if (!model.norms.some(({ kind }) => kind === "batch")) throw missingNorms("bn-adapt", "batch normalization");
    if (mode !== "running") return {};
    const names = model.norms.flatMap(({ mean, variance }) => [mean, variance]).filter((name) => name !== undefined);
    return prefixed(prefix, await model.read(names));
  },
  async predict(model, state, x, values) {
    const bench = await benchOf(model, values);
    return bench.use(state, async () => predicted((await run(bench, model, state, x, values, false)).logits));
  },
  async update(model, state, x, values) {
    const bench = await benchOf(model, values);
    return bench.use(state, async () => {
      const prediction = predicted((await run(bench, model, state, x, values, values.mode === "running")).logits);
      return { state: values.mode === "running" ? await bench.advance<typeof state>({}) : state, prediction };
    });
  },
});

function benchOf(model: GraphClassifier, values: Options): Promise<Workbench> {
  return model.benches.get(values, async () => ({ start: await bnAdapt.init(model, values) }));
}

/** The network on a batch; with `moving`, the running statistics first. */
async function run(
  bench: Workbench,
  model: GraphClassifier,
  state: Readonly<Record<string, Tensor>>,
  x: Tensor,
  { mode, priorCount, momentum }: Options,
  moving: boolean,
): Promise<Record<string, Tensor>> {
  const program = await bench.program(`${moving} ${x.dtype} ${x.shape}`, () => {
    const batch = model.inputLike(x);
    if (mode !== "running") {
      return {
        inputs: { x: batch },
        outputs: { logits: model.forward(batch, { statistics: mode, priorCount }).logits },
      };
    }
    const names = Object.keys(state).map((name) => name.slice(prefix.length));
    const held = stateValuesOf(prefix, Object.fromEntries(names.map((name) => [name, state[`${prefix}${name}`]])));
    const moved = moving ? model.observe(batch, momentum, held) : held;
    const { logits } = model.forward(batch, { statistics: "source", priorCount, parameters: moved });
    return { inputs: { x: batch }, outputs: { logits }, ...(moving && { update: prefixed(prefix, moved) }) };
  });
  return program.run({ x });
}
