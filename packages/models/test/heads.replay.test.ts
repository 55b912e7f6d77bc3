import { join } from "node:path";
import { openModelFromFiles, writeSafetensors } from "@loomweight/checkpoint";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type BuildModelOptions, buildModel, type Task } from "../src/index.ts";
import { excess, sessionOf } from "./run.ts";

// Heads without a recording of their own: what they give follows from the recorded hidden states by hand.

const area = fixtureArea("architectures");
const tolerance = { atol: 1e-4, rtol: 1e-4 };

async function run(
  task: Task,
  added: Readonly<Record<string, Tensor>>,
  options: BuildModelOptions = {},
): Promise<{ outputs: Record<string, Tensor>; states: Tensor; mask: Tensor }> {
  const folder = join(area ?? "", "bert");
  const recorded = readFixtureTensors(join(folder, "expected.safetensors"));
  const weights = new Map([...readFixtureTensors(join(folder, "model.safetensors")), ...Object.entries(added)]);
  const config = readFixtureJson<Record<string, unknown>>(join(folder, "config.json"));
  const model = await openModelFromFiles(
    new Map([
      ["model.safetensors", writeSafetensors(weights)],
      ["config.json", new TextEncoder().encode(JSON.stringify({ ...config, id2label: undefined }))],
    ]),
  );
  const built = await buildModel(model, task, options);
  const session = await sessionOf(built.model);
  const feeds = Object.fromEntries(session.inputs.map(({ name }) => [name, recorded.get(`in.${name}`) as Tensor]));
  const outputs = await session.run(feeds);
  await session.close();
  return {
    outputs,
    states: recorded.get("out.last_hidden_state") as Tensor,
    mask: recorded.get("in.attention_mask") as Tensor,
  };
}

const pattern = (shape: readonly number[]) =>
  fromData(
    "float32",
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => (((i * 37) % 19) - 9) / 10),
    shape,
  );

/** x · Wᵀ + b at every position, in float64. */
function linearOf(states: Tensor, weight: Tensor, bias: Tensor): number[][][] {
  const [rows, columns, size] = states.shape;
  const [x, w, b] = [states, weight, bias].map(({ data }) => data as Float32Array);
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) =>
      Array.from(b, (shift, out) => {
        let sum = shift;
        for (let i = 0; i < size; i++) sum += x[(row * columns + column) * size + i] * w[out * size + i];
        return sum;
      }),
    ),
  );
}

describe.skipIf(area === undefined)("heads over the recorded states of BERT", () => {
  test("token-classification is one linear layer at every token", async () => {
    const [weight, bias] = [pattern([4, 32]), pattern([4])];
    const added = { "classifier.weight": weight, "classifier.bias": bias };
    const { outputs, states, mask } = await run("token-classification", added);
    expect(Object.keys(outputs)).toEqual(["logits"]);
    const expected = linearOf(states, weight, bias).flat(2);
    const real = (row: number, column: number) => Number(mask.data[row * mask.shape[1] + column]) === 1;
    const shape = [...states.shape.slice(0, 2), 4];
    const tensor = fromData("float32", Float32Array.from(expected), shape);
    expect(excess(outputs.logits, tensor, { ...tolerance, real })).toBeLessThanOrEqual(0);
  });

  test("question-answering splits one linear layer into starts and ends", async () => {
    const [weight, bias] = [pattern([2, 32]), pattern([2])];
    const added = { "qa_outputs.weight": weight, "qa_outputs.bias": bias };
    const { outputs, states, mask } = await run("question-answering", added);
    expect(Object.keys(outputs)).toEqual(["start_logits", "end_logits"]);
    const logits = linearOf(states, weight, bias);
    const real = (row: number, column: number) => Number(mask.data[row * mask.shape[1] + column]) === 1;
    for (const [which, name] of ["start_logits", "end_logits"].entries()) {
      const values = Float32Array.from(logits.flatMap((row) => row.map((token) => token[which])));
      const tensor = fromData("float32", values, states.shape.slice(0, 2));
      expect(excess(outputs[name], tensor, { ...tolerance, real }), name).toBeLessThanOrEqual(0);
    }
  });

  const modes: Readonly<Record<string, (rows: number[][]) => number[]>> = {
    cls: (rows) => rows[0],
    max: (rows) => rows[0].map((_, i) => Math.max(...rows.map((row) => row[i]))),
    mean: (rows) => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length),
    mean_sqrt_len: (rows) => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / Math.sqrt(rows.length)),
    weightedmean: (rows) => {
      const all = rows.reduce((sum, _, place) => sum + place + 1, 0);
      return rows[0].map((_, i) => rows.reduce((sum, row, place) => sum + row[i] * (place + 1), 0) / all);
    },
    lasttoken: (rows) => rows[rows.length - 1],
  };
  for (const normalize of [false, true]) {
    test(`pooling of sentences${normalize ? ", divided by its length" : ""}: every mode, over the real tokens only`, async () => {
      const names = Object.keys(modes) as NonNullable<BuildModelOptions["pooling"]>["modes"];
      const { outputs, states, mask } = await run("feature-extraction", {}, { pooling: { modes: names, normalize } });
      const [rows, columns, size] = states.shape;
      expect(outputs.sentence_embedding.shape).toEqual([rows, size * names.length]);
      const joined = Array.from({ length: rows }, (_, row) => {
        const real = Array.from({ length: columns }, (_, column) => column)
          .filter((column) => Number(mask.data[row * columns + column]) === 1)
          .map((column) => {
            const start = (row * columns + column) * size;
            return Array.from((states.data as Float32Array).subarray(start, start + size));
          });
        const values = names.flatMap((name) => modes[name](real));
        const length = normalize ? Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)) : 1;
        return values.map((value) => value / length);
      });
      const expected = fromData("float32", Float32Array.from(joined.flat()), [rows, size * names.length]);
      expect(excess(outputs.sentence_embedding, expected, tolerance)).toBeLessThanOrEqual(0);
    });
  }

  test("what has no states of tokens cannot be pooled", async () => {
    const options = { pooling: { modes: ["mean"], normalize: true } } as const;
    await expect(run("fill-mask", {}, options)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
