import { join } from "node:path";
import { type Attachment, attach, attachedFiles } from "@loomweight/adapters/attach";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { gradient, slice, stateValue, type Value } from "@loomweight/graph";
import { crossEntropy } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { type Optimizer, train } from "@loomweight/graph/training";
import { buildModel } from "@loomweight/models";
import { adamw, sgd } from "@loomweight/optim";
import { fromData, type Tensor, toFloat64 as valuesOf } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { otherInputs } from "../src/inputs.ts";

interface Expected {
  readonly base: string;
  readonly optimizer: string;
  readonly steps: number;
  readonly losses: readonly number[];
}

const area = fixtureArea("peft") ?? "";
const found = fixtureCases("peft", { within: "training" });
const names = found.length > 0 ? found : ["(no recorded trainings here)"];
/** Of the folder's README. */
const tolerance = { loss: 5e-5, gradient: 1e-5, final: 1e-5 };

describe("recorded trainings", () => {
  let runtime: Awaited<ReturnType<typeof createRuntime>>;
  beforeAll(async () => {
    runtime = await createRuntime({ threads: 1 });
  });
  afterAll(() => runtime.close());

  test.for(names)("%s", async (name, context) => {
    if (found.length === 0) return context.skip("peft/training is not here");
    const folder = join(area, "training", name);
    const record = readFixtureJson<Expected>(join(folder, "expected.json"));
    const recorded = readFixtureTensors(join(folder, "expected.safetensors"));
    const base = await openModel(join(area, record.base));
    const built = await buildModel(base, "text-generation", { fuse: "none" });
    const adapter = await openAdapterFolder(folder);
    const attachment = await attach(built.model, base.checkpoint, adapter);
    const ids = readFixtureTensors(join(area, record.base, "inputs.safetensors")).get("input_ids") as Tensor;

    const keys = keysOf(attachment, recorded);
    const training = await train({
      runtime,
      parameters: attachment.parameters,
      loss: (parameters, batch) => lossOf(attachment, parameters, batch.input_ids),
      optimizer: optimizerOf(record.optimizer),
      learningRate: Number(/lr=([\d.e-]+)/.exec(record.optimizer)?.[1]),
      batches: Array.from({ length: record.steps + 1 }, () => ({ input_ids: ids })),
    });
    const program = await runtime.compile(
      { outputs: gradientsOf(attachment, training.state.tensors, ids) },
      training.state,
    );
    const first = await program.run({});
    await program.close();
    let worst = 0;
    for (const [key, own] of keys) {
      worst = Math.max(worst, relative(first[own], recorded.get(`grad1/${key}`) as Tensor));
    }
    expect(worst, "gradients").toBeLessThan(tolerance.gradient);

    let step = 0;
    let loss = 0;
    for await (const metrics of training) {
      loss = Math.max(loss, Math.abs(metrics.loss - record.losses[step]));
      step++;
      if (step !== 1 && step !== record.steps) continue;
      const kind = step === 1 ? "after1" : "final";
      const present = await training.parameters();
      for (const [key, own] of keys) {
        const gradient1 = recorded.get(`grad1/${key}`) as Tensor;
        const theirs =
          kind === "final"
            ? (recorded.get(`final/${key}`) as Tensor)
            : afterOneStep(attachment.parameters[own], gradient1, record.optimizer);
        const difference = absolute(present[own], theirs);
        expect(difference, `${kind} ${key}`).toBeLessThan(tolerance.final);
      }
      if (kind === "final") {
        const files = attachedFiles(attachment, { parameters: present, config: { task_type: "CAUSAL_LM" } });
        expect(files.weights.length).toBeGreaterThan(1000);
      }
    }
    expect(step).toBe(record.steps + 1);
    expect(loss, "losses").toBeLessThan(tolerance.loss);
    context.annotate(`gradients ${worst.toExponential(1)} (relative), losses ${loss.toExponential(1)}`);
    await training.close();
    await base.checkpoint.close();
    await adapter.checkpoint.close();
  });
});

type Values = Readonly<Record<string, Value>>;

function lossOf(attachment: Attachment, parameters: Values, ids: Value) {
  const [rows, columns] = ids.shape as [number, number];
  const inputs = { input_ids: ids };
  const { outputs } = attachment.instantiate({
    parameters,
    inputs: { ...inputs, ...otherInputs(attachment.model, inputs, [rows, columns]) },
  });
  const part = (value: Value, start: number, end: number) => slice(value, { axes: [1], starts: [start], ends: [end] });
  return crossEntropy(part(outputs.logits, 0, columns - 1), part(ids, 1, columns), { ignore: null });
}

/** Gradients at the state's values, with the ids as a constant. */
function gradientsOf(
  attachment: Attachment,
  tensors: ReadonlyMap<string, { dtype: Tensor["dtype"]; shape: readonly number[] }>,
  ids: Tensor,
): Record<string, Value> {
  const parameters = Object.fromEntries(
    Object.keys(attachment.parameters).map((name) => {
      const { dtype, shape } = tensors.get(name) as { dtype: Tensor["dtype"]; shape: readonly number[] };
      return [name, stateValue(name, dtype, shape)];
    }),
  );
  return gradient(lossOf(attachment, parameters, ids), parameters);
}

/** Key of the record → name among the attachment's parameters. */
function keysOf(
  { adapters: [{ modules, method }] }: Attachment,
  recorded: ReadonlyMap<string, Tensor>,
): [string, string][] {
  const suffixes = Object.entries(method.files.suffixes as Readonly<Record<string, { readonly param: string }>>);
  return [...modules.values()].flatMap(({ path, names }) =>
    Object.entries(names).map(([param, own]): [string, string] => {
      const keys = suffixes.flatMap(([suffix, each]) =>
        each.param === param ? [`base_model.model.${path}.${suffix}`] : [],
      );
      const key = keys.find((each) => recorded.has(`final/${each}`));
      expect(key, own).toBeDefined();
      return [key as string, own];
    }),
  );
}

function optimizerOf(call: string): Optimizer {
  return call.includes("SGD") ? sgd() : adamw({ weightDecay: 0.01 });
}

/**
 * Parameters after the first step by hand, in float64, from the recorded gradient: the folder's after1/ are not copies
 * and hold the final values.
 */
function afterOneStep(before: Tensor, gradient1: Tensor, call: string): Tensor {
  const [p, g] = [valuesOf(before), valuesOf(gradient1)];
  const step = call.includes("SGD")
    ? (i: number) => p[i] - 0.1 * g[i]
    : (i: number) => p[i] * (1 - 1e-2 * 0.01) - (1e-2 * g[i]) / (Math.abs(g[i]) + 1e-8);
  return fromData(
    "float64",
    p.map((_, i) => step(i)),
    before.shape,
  );
}

function absolute(ours: Tensor, theirs: Tensor): number {
  const [a, b] = [valuesOf(ours), valuesOf(theirs)];
  expect(a.length).toBe(b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}

/** Relative to the largest entry of the tensor. */
function relative(ours: Tensor, theirs: Tensor): number {
  const largest = valuesOf(theirs).reduce((most, each) => Math.max(most, Math.abs(each)), 0);
  const difference = absolute(ours, theirs);
  return largest === 0 ? difference : difference / largest;
}
