import { join } from "node:path";
import { type ModelFolder, openModelFromFiles, writeSafetensors } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { OnnxModel } from "@loomweight/graph";
import { cast, fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { buildModel, type ComputeDType } from "../src/index.ts";
import { sessionOf } from "./run.ts";

const area = fixtureArea("architectures");

type Enlarged = readonly (readonly [pattern: RegExp, factor: number])[];

const gated: Enlarged = [
  [/up_proj|\.wi(_1)?\./, 3000],
  [/down_proj|\.wo\./, 100],
];
const sandwich: Enlarged = [...gated, [/post_feedforward_layernorm/, 1e6]];

/** By model_type, families whose published weights leave float16's range, and what is enlarged until the recorded ones do. */
const enlarged: Readonly<Record<string, Enlarged>> = {
  gemma: gated,
  gemma2: sandwich,
  gemma3_text: sandwich,
  qwen2: gated,
  t5: gated,
};

async function withLargeWeights(folder: string, large: Enlarged): Promise<ModelFolder> {
  const model = await openModel(folder);
  const tensors = new Map<string, Tensor>();
  for (const name of model.checkpoint.tensors.keys()) {
    const tensor = cast(await model.checkpoint.read(name), "float32");
    const factor = large.find(([pattern]) => pattern.test(name))?.[1] ?? 1;
    const data = tensor.data.map((x) => x * factor);
    tensors.set(name, fromData("float32", data, tensor.shape));
  }
  const config = new TextEncoder().encode(JSON.stringify(model.config));
  await model.close();
  return openModelFromFiles(
    new Map([
      ["model.safetensors", writeSafetensors(tensors)],
      ["config.json", config],
    ]),
  );
}

/** Every value of a dtype as a further output: none is kept wider than the graph says. */
function withValues({ graph, ...model }: OnnxModel, wanted: ComputeDType): OnnxModel {
  const known = new Set(graph.outputs.map(({ name }) => name));
  const values = [...graph.valueInfo.values()].filter(({ name, dtype }) => dtype === wanted && !known.has(name));
  return { ...model, graph: { ...graph, outputs: [...graph.outputs, ...values] } };
}

async function outputsOf(model: OnnxModel, feeds: ReadonlyMap<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await sessionOf(model);
  const [rows] = [...feeds.values()][0].shape;
  const inputs = session.inputs.map(({ name, shape }) => {
    const empty = () => fromData("float32", new Float32Array(0), [rows, Number(shape[1]), 0, Number(shape[3])]);
    return [name, feeds.get(name) ?? empty()] as const;
  });
  const outputs = await session.run(Object.fromEntries(inputs));
  await session.close();
  return outputs;
}

const finite = ({ dtype, data }: Tensor): boolean =>
  dtype === "float16"
    ? (data as Uint16Array).every((code) => (code & 0x7c00) !== 0x7c00)
    : (data as Float32Array).every(Number.isFinite);

/** Largest difference at real positions, against the largest value there. */
function difference(actual: Tensor, expected: Tensor, mask: Tensor | undefined): number {
  const inner = expected.shape[expected.shape.length - 1];
  let worst = 0;
  let largest = 0;
  for (let i = 0; i < expected.data.length; i++) {
    if (mask !== undefined && Number(mask.data[Math.floor(i / inner)]) === 0) continue;
    worst = Math.max(worst, Math.abs(Number(actual.data[i]) - Number(expected.data[i])));
    largest = Math.max(largest, Math.abs(Number(expected.data[i])));
  }
  return worst / largest;
}

describe.skipIf(area === undefined)("half precision of models beyond its range", () => {
  for (const [type, large] of Object.entries(enlarged)) {
    test(`${type}: every value is finite, and close to float32`, async (context) => {
      const folder = join(area ?? "", type);
      const present = await openModel(folder).then(
        async (model) => {
          await model.close();
          return true;
        },
        () => false,
      );
      if (!present) return context.skip("the full set of fixtures is needed");
      const { kind } = readFixtureJson<{ kind: string }>(join(folder, "expected.json"));
      const recorded = readFixtureTensors(join(folder, "expected.safetensors"));
      const feeds = new Map(
        [...recorded].flatMap(([name, tensor]) => (name.startsWith("in.") ? [[name.slice(3), tensor] as const] : [])),
      );
      const model = await withLargeWeights(folder, large);
      const built = (dtype: ComputeDType, fuse: "none" | "onnxruntime") =>
        buildModel(model, undefined, { dtype, fuse });
      const mask = feeds.get("attention_mask");
      const compare = async (name: "model" | "encoder_model" | "decoder_model_merged", output: string) => {
        const wide = (await built("float32", "none")).models.get(name) as OnnxModel;
        const values = await outputsOf(withValues(wide, "float32"), feeds);
        const expected = values[output];
        const sizes = Object.values(values).flatMap((each) => Array.from(each.data as Float32Array, Math.abs));
        const unmasked = sizes.reduce((most, size) => (size < 1e30 ? Math.max(most, size) : most), 0);
        expect(unmasked, "largest value beside masks").toBeGreaterThan(65504);
        for (const fuse of ["none", "onnxruntime"] as const) {
          const half = (await built("float16", fuse)).models.get(name) as OnnxModel;
          const outputs = await outputsOf(fuse === "none" ? withValues(half, "float16") : half, feeds);
          const bad = Object.entries(outputs).flatMap(([each, tensor]) => (finite(tensor) ? [] : [each]));
          expect(bad).toEqual([]);
          const real = name === "decoder_model_merged" ? undefined : mask;
          expect(difference(outputs[output], expected, real), `${output} with fuse ${fuse}`).toBeLessThan(0.01);
        }
        return expected;
      };
      if (kind !== "seq2seq") return void (await compare("model", "logits"));
      feeds.set("encoder_hidden_states", await compare("encoder_model", "last_hidden_state"));
      if (mask !== undefined) feeds.set("encoder_attention_mask", mask);
      feeds.set("input_ids", feeds.get("decoder_input_ids") as Tensor);
      await compare("decoder_model_merged", "logits");
    });
  }
});
