import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fixtureArea } from "@loomweight/fixtures";
import { int, lazyTensor, type OnnxModel, onnxNode } from "@loomweight/graph";
import { openOnnxFile, openSession, writeOnnxFile } from "@loomweight/graph/node";
import { quantizeModel } from "@loomweight/quant";
import { contiguousData, fromData, type Tensor, transpose } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type ExportDType, modelFileName } from "../src/index.ts";
import { exportFolder, reweightFolder } from "../src/node/index.ts";
import { decoderFeeds, int64, maxDifference } from "./exported.ts";
import { otherModel, torchExport, withFolder } from "./reweighted.ts";

const area = fixtureArea("architectures") ?? "";
const base = (name: string) => join(area, name);
const dtypes: readonly ExportDType[] = ["fp32", "fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4"];

async function run(path: string, feeds: Readonly<Record<string, Tensor>>): Promise<Tensor> {
  const session = await openSession(path, { threads: 1 });
  try {
    const known = session.inputs.some(({ name }) => name.startsWith("past_key_values."))
      ? decoderFeeds(session, feeds.input_ids)
      : Object.fromEntries(session.inputs.map(({ name }) => [name, feeds[name]]));
    return (await session.run(known)).logits;
  } finally {
    await session.close();
  }
}

const ids = int64([5, 9, 40, 7, 22, 61, 13, 30], [1, 8]);
const text = {
  input_ids: ids,
  attention_mask: int64(new Array(8).fill(1), [1, 8]),
  token_type_ids: int64(new Array(8).fill(0), [1, 8]),
};

describe.skipIf(area === "")("new weights in an export that exists", () => {
  for (const name of ["llama", "bert"]) {
    for (const withBase of [true, false]) {
      test(`our ${name}, ${withBase ? "with its base" : "by names alone"}: every dtype has the bytes of a fresh export`, async () => {
        await withFolder(async (root) => {
          const fresh = await otherModel(base(name), join(root, "new"));
          await exportFolder(base(name), join(root, "old"), { dtypes, verify: false });
          await exportFolder(fresh, join(root, "fresh"), { dtypes, verify: false });
          const options = withBase ? { base: base(name) } : {};
          const report = await reweightFolder(join(root, "old"), fresh, join(root, "out"), {
            ...options,
            verify: false,
          });
          expect(report.files.length).toBe(dtypes.length);
          for (const dtype of dtypes) {
            const file = join("onnx", modelFileName(dtype));
            const [made, wanted, old] = await Promise.all(
              ["out", "fresh", "old"].map((folder) => readFile(join(root, folder, file))),
            );
            expect([file, made.equals(wanted), made.equals(old)]).toEqual([file, true, false]);
          }
          expect(await readFile(join(root, "out/config.json"), "utf8")).toBe(
            await readFile(join(root, "old/config.json"), "utf8"),
          );
        });
      }, 60_000);
    }
  }

  for (const symmetric of [true, false]) {
    test(`a 4-bit table that embedding and head share, ${symmetric ? "without" : "with"} zero points: the bytes of a fresh export`, async () => {
      await withFolder(async (root) => {
        const [old, fresh] = [join(root, "tied"), join(root, "new")];
        const tie = { tie_word_embeddings: true };
        await otherModel(base("llama"), old, (tensors) => tensors.delete("lm_head.weight"));
        await otherModel(base("llama"), fresh, (tensors) => {
          tensors.delete("lm_head.weight");
          for (const [name, tensor] of tensors) {
            const values = (tensor.data as Float32Array).map((value, at) => value + Math.sin(at + name.length) / 9);
            tensors.set(name, fromData("float32", values, tensor.shape));
          }
        });
        for (const folder of [old, fresh]) {
          const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
          await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, ...tie }));
        }
        // for the CPU and one row: packed, turned inside attention, a head that multiplies by the table as it lies
        const options = {
          dtypes: ["fp32", "q4"],
          devices: ["cpu"],
          batchSize: 1,
          quantize: { embeddings: true, blockSize: 16, symmetric },
          verify: false,
        } as const;
        for (const folder of [old, fresh]) await exportFolder(folder, `${folder}-onnx`, options);
        await reweightFolder(`${old}-onnx`, fresh, join(root, "out"));
        for (const file of ["model.onnx", "model_q4.onnx"]) {
          const [made, wanted, before] = await Promise.all(
            [join(root, "out"), `${fresh}-onnx`, `${old}-onnx`].map((folder) => readFile(join(folder, "onnx", file))),
          );
          expect([file, made.equals(wanted), made.equals(before)]).toEqual([file, true, false]);
        }
        const { model, close } = await openOnnxFile(join(root, "out/onnx/model_q4.onnx"));
        expect(model.graph.nodes.filter(({ op }) => op === "GatherBlockQuantized").length).toBe(1);
        expect([...model.graph.initializers.keys()].filter((name) => /embed_tokens/.test(name))).toEqual([]);
        await close();
      });
    }, 60_000);
  }

  for (const [exported, how] of [
    ["llama-legacy", ["name and values", "name"]],
    ["bert-dynamo", ["name and values"]],
  ] as const) {
    const name = exported.split("-")[0];
    for (const found of how) {
      test(`torch's ${exported}, found by ${found}: the outputs of a fresh export`, async () => {
        await withFolder(async (root) => {
          const fresh = await otherModel(base(name), join(root, "new"));
          const old = await torchExport(exported, root);
          const options = found === "name" ? {} : { base: base(name) };
          const { files } = await reweightFolder(old, fresh, join(root, "out"), options);
          expect(files[0].verified).toBe(true);
          expect(new Set(files[0].matched.map((each) => each.how)).has(found)).toBe(true);
          expect(files[0].unused).toEqual([]);
          await exportFolder(fresh, join(root, "fresh"), { dtypes: ["fp32"], verify: false });
          const wanted = await run(join(root, "fresh/onnx/model.onnx"), text);
          const made = await run(join(root, "out", `${exported}.onnx`), text);
          expect(maxDifference(made, wanted)).toBeLessThan(2e-5);
          expect(maxDifference(await run(old, text), wanted)).toBeGreaterThan(0.5);
        });
      }, 60_000);
    }
  }

  test("positions that the exporter cut from a table are cut from the new one", async () => {
    await withFolder(async (root) => {
      const fresh = await otherModel(base("bert"), join(root, "new"));
      const old = await torchExport("bert-dynamo", root);
      const { files } = await reweightFolder(old, fresh, join(root, "out"), { base: base("bert"), verify: false });
      const by = new Map(files[0].matched.map((each) => [each.initializers[0], each]));
      expect(by.get("embedding_2")).toMatchObject({
        tensors: ["bert.embeddings.position_embeddings.weight"],
        transform: "1 runs of rows",
        how: "values",
      });
      expect(by.get("embedding_1")?.tensors).toEqual(["bert.embeddings.token_type_embeddings.weight"]);
      expect(by.get("val_56")).toMatchObject({ transform: "transpose", how: "values" });
    });
  }, 60_000);

  for (const dtype of ["fp32", "q8", "q4"] as const) {
    test(`a ${dtype} file renamed, with weights turned and packed: found by values`, async () => {
      await withFolder(async (root) => {
        const fresh = await otherModel(base("llama"), join(root, "new"));
        const old = join(root, "model.onnx");
        for (const [folder, path] of [
          [base("llama"), old],
          [fresh, join(root, "fresh.onnx")],
        ]) {
          await exportFolder(folder, join(root, "plain"), { dtypes: ["fp32"], verify: false, force: true });
          const { model, close } = await openOnnxFile(join(root, "plain/onnx/model.onnx"));
          await writeOnnxFile(path, quantizeModel(await disguised(model), dtype));
          await close();
        }
        await expect(reweightFolder(old, fresh, join(root, "out"))).rejects.toMatchObject({
          code: "UNMATCHED_WEIGHTS",
        });
        const { files } = await reweightFolder(old, fresh, join(root, "out"), { base: base("llama") });
        expect(files[0].matched.some(({ transform }) => transform.startsWith("3 tensors joined"))).toBe(true);
        const made = await readFile(join(root, "out/model.onnx"));
        expect(made.equals(await readFile(join(root, "fresh.onnx")))).toBe(true);
      });
    }, 60_000);
  }
});

/**
 * A graph with its meaning kept and its names gone: initializers are w0, w1, …; nodes have no names; q, k and v of
 * each layer are one product that is split; the head is stored [out, in] and multiplied transposed.
 */
async function disguised(model: OnnxModel): Promise<OnnxModel> {
  const weights = new Map(model.graph.initializers);
  const nodes = [];
  for (const node of model.graph.nodes) {
    const match = /^model\.layers\.(\d+)\.self_attn\.([qkv])_proj\.weight$/.exec(node.inputs[1] ?? "");
    if (match?.[2] === "q") {
      const parts = ["q", "k", "v"].map((each) => `model.layers.${match[1]}.self_attn.${each}_proj.weight`);
      const tensors = await Promise.all(
        parts.map((part) => (weights.get(part) as { data: { read(): Promise<Tensor> } }).data.read()),
      );
      const outputs = parts.map(
        (part) => model.graph.nodes.find(({ inputs }) => inputs[1] === part)?.outputs[0] as string,
      );
      const [packed, sizes, joined] = [`packed.${match[1]}`, `sizes.${match[1]}`, `joined.${match[1]}`];
      add(weights, packed, joinColumns(tensors));
      add(
        weights,
        sizes,
        int64(
          tensors.map(({ shape }) => shape[1]),
          [3],
        ),
      );
      nodes.push(onnxNode("MatMul", [node.inputs[0], packed], [joined]));
      nodes.push(onnxNode("Split", [joined, sizes], outputs, { attributes: { axis: int(-1) } }));
    } else if (node.inputs[1] === "lm_head.weight") {
      const head = (weights.get("lm_head.weight") as { data: { read(): Promise<Tensor> } }).data;
      add(weights, "head.turned", transpose(await head.read()));
      nodes.push(onnxNode("Transpose", ["head.turned"], ["head"]));
      nodes.push(onnxNode("MatMul", [node.inputs[0], "head"], node.outputs));
    } else if (match === null) nodes.push(node);
  }
  const used = new Set(nodes.flatMap(({ inputs }) => inputs));
  const kept = [...weights.values()].filter(({ name }) => used.has(name));
  const names = new Map(kept.map(({ name }, at) => [name, `w${at}`]));
  const renamed = nodes.map((node) => ({
    ...node,
    name: "",
    inputs: node.inputs.map((name) => names.get(name) ?? name),
  }));
  const initializers = new Map(
    kept.map((each) => {
      const name = names.get(each.name) as string;
      return [name, { ...each, name }];
    }),
  );
  return { ...model, graph: { ...model.graph, nodes: renamed, initializers, valueInfo: new Map() } };
}

function add(
  weights: Map<string, OnnxModel["graph"]["initializers"] extends ReadonlyMap<string, infer T> ? T : never>,
  name: string,
  tensor: Tensor,
): void {
  weights.set(name, { name, dtype: tensor.dtype, shape: tensor.shape, data: lazyTensor(tensor) });
}

/** [in, a], [in, b] → [in, a + b]. */
function joinColumns(tensors: readonly Tensor[]): Tensor {
  const rows = tensors.flatMap((each) => Array.from(contiguousData(transpose(each)) as Float32Array));
  const [inner] = tensors[0].shape;
  const width = rows.length / inner;
  const turned = transpose(fromData("float32", Float32Array.from(rows), [width, inner]));
  return fromData("float32", contiguousData(turned) as Float32Array, [inner, width]);
}

describe.skipIf(area === "")("what does not fit is refused, and nothing is written", () => {
  async function refused(
    exported: string,
    change: (tensors: Map<string, Tensor>) => void,
    options: { base?: boolean; config?: Readonly<Record<string, unknown>>; model?: string } = {},
  ): Promise<{ code: string; message: string }> {
    return withFolder(async (root) => {
      const name = exported.split("-")[0];
      const fresh = await otherModel(base(options.model ?? name), join(root, "new"), change);
      if (options.config !== undefined) {
        const path = join(fresh, "config.json");
        const config = { ...JSON.parse(await readFile(path, "utf8")), ...options.config };
        await writeFile(path, JSON.stringify(config));
      }
      const old = await torchExport(exported, root);
      const before = await readdir(root);
      const failed = await reweightFolder(
        old,
        fresh,
        join(root, "out"),
        options.base === false ? {} : { base: base(name) },
      ).then(
        () => undefined,
        (cause) => cause,
      );
      expect(await readdir(root)).toEqual(before);
      return failed;
    });
  }

  test("a tensor is missing", async () => {
    const error = await refused("llama-legacy", (tensors) => tensors.delete("model.layers.1.mlp.up_proj.weight"));
    expect(error).toMatchObject({ code: "MISSING_TENSOR" });
    expect(error.message).toContain("model.layers.1.mlp.up_proj.weight");
    const unnamed = await refused("llama-legacy", (tensors) => tensors.delete("model.norm.weight"), { base: false });
    expect(unnamed).toMatchObject({ code: "UNMATCHED_WEIGHTS" });
    expect(unnamed.message).toContain("model.model.norm.weight");
  });

  test("a tensor has another shape", async () => {
    const widen = (tensors: Map<string, Tensor>) =>
      void tensors.set("model.norm.weight", fromData("float32", new Float32Array(33), [33]));
    expect(await refused("llama-legacy", widen)).toMatchObject({ code: "SHAPE_MISMATCH" });
    expect(await refused("llama-legacy", widen, { base: false })).toMatchObject({ code: "UNMATCHED_WEIGHTS" });
  });

  test("a tensor that the export has no place for", async () => {
    const extra = (tensors: Map<string, Tensor>) =>
      void tensors.set("model.layers.0.self_attn.q_proj.bias", fromData("float32", new Float32Array(32), [32]));
    const error = await refused("llama-legacy", extra);
    expect(error).toMatchObject({ code: "UNEXPECTED_TENSOR" });
    expect(error.message).toContain("q_proj.bias");
  });

  test("another architecture, and other settings of the same", async () => {
    expect(await refused("llama-legacy", () => {}, { model: "bert" })).toMatchObject({ code: "CONFIG_MISMATCH" });
    expect(await refused("llama-legacy", () => {}, { model: "bert", base: false })).toMatchObject({
      code: "UNMATCHED_WEIGHTS",
    });
    const error = await refused("llama-legacy", () => {}, { config: { rms_norm_eps: 0.5 } });
    expect(error).toMatchObject({ code: "CONFIG_MISMATCH" });
    expect(error.message).toContain("rms_norm_eps");
  });

  test("a head that is no longer tied to the embeddings", async () => {
    const untie = (tensors: Map<string, Tensor>) => {
      const table = tensors.get("bert.embeddings.word_embeddings.weight") as Tensor;
      const values = Float32Array.from(contiguousData(table) as Float32Array, (value) => -value);
      tensors.set("cls.predictions.decoder.weight", fromData("float32", values, table.shape));
    };
    expect(await refused("bert-dynamo", untie)).toMatchObject({ code: "UNTIED_WEIGHTS" });
  });

  test("external data in several files is not refused: there are as many as config.json announces", async () => {
    await withFolder(async (root) => {
      const fresh = await otherModel(base("llama"), join(root, "new"));
      const options = { dtypes: ["fp32"], externalData: true, maxExternalBytes: 60_000, verify: false } as const;
      await exportFolder(base("llama"), join(root, "old"), options);
      await exportFolder(fresh, join(root, "fresh"), options);
      await reweightFolder(join(root, "old"), fresh, join(root, "out"), { verify: false });
      const names = (await readdir(join(root, "fresh/onnx"))).sort();
      expect(names.length).toBeGreaterThan(2);
      expect((await readdir(join(root, "out/onnx"))).sort()).toEqual(names);
      for (const name of names) {
        const [made, wanted] = await Promise.all(
          ["out", "fresh"].map((each) => readFile(join(root, each, "onnx", name))),
        );
        expect([name, made.equals(wanted)]).toEqual([name, true]);
      }
    });
  }, 60_000);

  test("external data that is missing or cut", async () => {
    await withFolder(async (root) => {
      const fresh = await otherModel(base("llama"), join(root, "new"));
      const exported = join(root, "old");
      await exportFolder(base("llama"), exported, { dtypes: ["fp32"], externalData: true, verify: false });
      const data = join(exported, "onnx/model.onnx_data");
      const options = { base: base("llama"), verify: false };
      await reweightFolder(exported, fresh, join(root, "whole"), options);
      expect((await readdir(join(root, "whole/onnx"))).sort()).toEqual(["model.onnx", "model.onnx_data"]);
      await writeFile(data, (await readFile(data)).subarray(0, -1));
      const before = (await readdir(root)).sort();
      await expect(reweightFolder(exported, fresh, join(root, "out"), options)).rejects.toMatchObject({
        code: "INVALID_ONNX",
      });
      await rm(data);
      for (const each of [options, { verify: false }]) {
        await expect(reweightFolder(exported, fresh, join(root, "out"), each)).rejects.toMatchObject({
          code: "MISSING_EXTERNAL_DATA",
        });
      }
      expect((await readdir(root)).sort()).toEqual(before);
    });
  }, 60_000);

  test("the wrong base, no export, an output that exists", async () => {
    await withFolder(async (root) => {
      const fresh = await otherModel(base("llama"), join(root, "new"));
      const old = await torchExport("llama-legacy", root);
      const wrong = await reweightFolder(old, base("llama"), join(root, "out"), { base: fresh }).catch(
        (cause) => cause,
      );
      expect(wrong).toMatchObject({ code: "UNMATCHED_WEIGHTS" });
      expect(wrong.message).toContain("tried");
      await expect(reweightFolder(fresh, fresh, join(root, "out"))).rejects.toMatchObject({ code: "NO_ONNX_FILES" });
      await expect(reweightFolder(join(root, "none"), fresh, join(root, "out"))).rejects.toMatchObject({
        code: "MISSING_FILE",
      });
      await expect(reweightFolder(old, fresh, fresh)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
      await rm(old);
    });
  });
});
