import { methodCases } from "@loomweight/fixtures";
import { add, div, mul, sqrt, type Value } from "@loomweight/graph";
import { expectClose, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { adamp, projectScaleInvariant, sgdp } from "../../src/index.ts";
import { rowCosines } from "../../src/projection.ts";
import { type RecordedOptions, rowOf } from "../recorded.ts";
import { stepOnTensors, type Tensors } from "../run.ts";

const cases = methodCases<RecordedOptions>("23-adamp");

function optimizerOf(options: RecordedOptions) {
  const { optimizer, betas, weight_decay, delta, wd_ratio, nesterov, momentum, dampening } = options;
  const given = Object.fromEntries(
    Object.entries({
      beta1: betas?.[0],
      beta2: betas?.[1],
      weightDecay: weight_decay,
      delta,
      decayRatio: wd_ratio,
      nesterov,
      momentum,
      dampening,
    }).filter(([, value]) => value !== undefined),
  );
  return optimizer === "adamp" ? adamp(given) : sgdp(given);
}

/** The update before the projection, from the state after the step. */
function updateOf(options: RecordedOptions, step: number, gradient: Tensor, slot: (name: string) => Tensor): Value {
  if (options.optimizer === "sgdp") {
    const buffer = slot("momentum");
    return options.nesterov ? add(gradient, mul(buffer, options.momentum)) : buffer;
  }
  const [beta1, beta2] = options.betas ?? [0.9, 0.999];
  const denominator = add(div(sqrt(slot("exp_avg_sq")), Math.sqrt(1 - beta2 ** step)), 1e-8);
  const mean = slot("exp_avg");
  return div(options.nesterov ? add(mul(mean, beta1), mul(gradient, 1 - beta1)) : mean, denominator);
}

describe("23-adamp", () => {
  if (cases.length === 0) test("recorded cases", (context) => context.skip("fixtures/methods/23-adamp is absent"));
  test.each(cases)("$name", ({ options, tensors, tensor }) => {
    const optimizer = optimizerOf(options);
    const names = [...tensors.keys()].flatMap((key) => (key.startsWith("initial/") ? [key.slice(8)] : []));
    const initial: Tensors = Object.fromEntries(names.map((name) => [name, tensor(`initial/${name}`)]));
    const dtype = initial[names[0]].dtype as "float32" | "float64";
    const tolerance = dtype === "float64" ? 1e-11 : 2e-5;
    const settings = { delta: options.delta ?? 0.1, epsilon: 1e-8 };
    let at: { parameters: Tensors; state: Tensors } = { parameters: initial, state: { ...optimizer.init(initial) } };
    for (let step = 1; step <= 50; step++) {
      const gradients = Object.fromEntries(
        names.map((name) => [name, rowOf(tensor(`gradients/${name}`), step - 1, dtype)]),
      );
      const before = at.parameters;
      at = stepOnTensors(optimizer, at, gradients, { step, learningRate: options.lr });
      for (const name of names) {
        const [parameter, gradient] = [before[name], gradients[name]];
        const matrix = parameter.shape.length > 1;
        const slot = (kind: string) => at.state[`${kind}/${name}`];
        const update = updateOf(options, step, gradient, slot);
        const projection = matrix ? projectScaleInvariant({ parameter, gradient, update }, settings) : undefined;
        const masks = projection && [projection.channel, projection.layer].map((mask) => toFloat64(mask as Tensor)[0]);
        const branch = masks === undefined ? 0 : masks[0] + 2 * masks[1];
        const recordedBranch = tensors.get(`branch/${name}`);
        if (recordedBranch)
          expect(branch, `branch of ${name} at step ${step}`).toBe(toFloat64(recordedBranch)[step - 1]);
        const cosine = tensors.get(`step${step}/cosine/${name}`);
        if (cosine) {
          const view = [parameter, gradient].map((each) => ({ ...each, ...rowsOf(each) }));
          const found = rowCosines(view[0], view[1], 1e-8) as Tensor;
          expectClose({ ...found, shape: cosine.shape, stride: [1] }, cosine, tolerance);
        }
        const perturbation = tensors.get(`step${step}/perturbation/${name}`);
        // Without nesterov the buffer that is kept is the projected update itself.
        const kept = options.optimizer === "sgdp" && !options.nesterov;
        const projected = kept ? slot("momentum") : (projection?.update as Tensor);
        if (perturbation) expectClose(projected, perturbation, tolerance);
        const after = tensors.get(`step${step}/param/${name}`);
        if (after) expectClose(at.parameters[name], after, tolerance);
        for (const kind of ["exp_avg", "exp_avg_sq", "momentum"]) {
          const recorded = tensors.get(`step${step}/${kind}/${name}`);
          if (recorded) expectClose(slot(kind), recorded, tolerance);
        }
      }
    }
  });
});

/** Shape [rows, rest] of a row-major tensor. */
function rowsOf({ shape }: Tensor): { shape: number[]; stride: number[] } {
  const rest = shape.slice(1).reduce((product, size) => product * size, 1);
  return { shape: [shape[0], rest], stride: [rest, 1] };
}
