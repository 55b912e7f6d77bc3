import { writeSafetensors } from "@loomweight/checkpoint";
import type { Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { openAdapter, unfoldAdapters, writeAdapter } from "../src/index.ts";
import { memoryCheckpoint } from "./memory.ts";
import { adapterFolder, float32, foldSmall, readAll, weights } from "./small.ts";

// Recorded with PEFT 0.21.0 and torch 2.13: a module with two experts, gate_up_proj counting up from 0 and down_proj
// down from 0, factors −2, −1, 0, 1, 2, −2, … of LoraConfig(r=2, lora_alpha=4, target_modules=[], target_parameters=
// ["experts.gate_up_proj", "experts.down_proj"], rank_pattern={"experts.down_proj": 1}); then merge_and_unload().
const gateUp = [8, 5, 2, -7, -4, 9, -2, -3, 16, 13, 18, 3, 18, 9, 10, 19, 16, 13, 10, 23, 26, 11, 30, 29];
const down = [16, 7, -2, -3, -20, -13, -6, -11, -8, -5, -10, -19];
/** The same with is_transposed = True: [experts, in, out]. */
const gateUpTransposed = [8, -7, -2, 13, 5, -4, -3, 18, 2, 9, 16, 3, 18, 19, 10, 11, 9, 16, 23, 30, 10, 13, 26, 29];
const downTransposed = [16, -2, -20, 7, -3, -13, -6, -8, -10, -11, -5, -19];

const [experts, width, hidden] = [2, 3, 2];
const sides = 2 * hidden;
const module = "model.layers.0.mlp.experts";
const counting = (count: number, sign = 1) => Array.from({ length: count }, (_, i) => sign * i);
const cycle = (shape: readonly number[]) =>
  float32(
    Array.from({ length: shape[0] * shape[1] }, (_, i) => (i % 5) - 2),
    shape,
  );
const config = {
  peft_type: "LORA",
  r: 2,
  lora_alpha: 4,
  target_modules: [],
  target_parameters: ["experts.gate_up_proj", "experts.down_proj"],
  rank_pattern: { "experts.down_proj": 1 },
};

function factors(path = module): Map<string, Tensor> {
  const prefix = `base_model.model.${path}`;
  return new Map<string, Tensor>([
    [`${prefix}.base_layer.lora_A.weight`, cycle([4, 3])],
    [`${prefix}.base_layer.lora_B.weight`, cycle([4, 4])],
    [`${prefix}.lora_A.weight`, cycle([2, 2])],
    [`${prefix}.lora_B.weight`, cycle([3, 2])],
  ]);
}

/** Two matrices of one size one after the other, each transposed. */
function transposed(values: readonly number[], rows: number, columns: number): number[] {
  return values.map((_, i) => {
    const [expert, rest] = [Math.floor(i / (rows * columns)), i % (rows * columns)];
    return values[expert * rows * columns + (rest % rows) * columns + Math.floor(rest / rows)];
  });
}

const base = () =>
  new Map<string, Tensor>([
    [`${module}.gate_up_proj`, float32(counting(24), [experts, sides, width])],
    [`${module}.down_proj`, float32(counting(12, -1), [experts, width, hidden])],
    ["model.norm.weight", float32([1, 2, 3], [3])],
  ]);

describe("LoRA on the parameters of experts", () => {
  test("becomes what PEFT makes of it", async () => {
    const folded = await readAll(await foldSmall(base(), [adapterFolder(config, factors())]));
    expect([...folded.get(`${module}.gate_up_proj`)!.data]).toEqual(gateUp);
    expect([...folded.get(`${module}.down_proj`)!.data]).toEqual(down);
    expect([...folded.get("model.norm.weight")!.data]).toEqual([1, 2, 3]);
  });

  test("stored [experts, in, out] too: the shapes say so", async () => {
    const stored = new Map<string, Tensor>([
      [`${module}.gate_up_proj`, float32(transposed(counting(24), sides, width), [experts, width, sides])],
      [`${module}.down_proj`, float32(transposed(counting(12, -1), width, hidden), [experts, hidden, width])],
    ]);
    const folded = await readAll(await foldSmall(stored, [adapterFolder(config, factors())]));
    expect([...folded.get(`${module}.gate_up_proj`)!.data]).toEqual(gateUpTransposed);
    expect([...folded.get(`${module}.down_proj`)!.data]).toEqual(downTransposed);
  });

  for (const [family, place, [gate, up, out]] of [
    ["Qwen", module, ["gate_proj", "up_proj", "down_proj"]],
    ["Mixtral", "model.layers.0.block_sparse_moe.experts", ["w1", "w3", "w2"]],
  ] as const) {
    test(`changes the linear layers that a checkpoint of ${family} has for each expert`, async () => {
      const stored = new Map<string, Tensor>();
      for (let e = 0; e < experts; e++) {
        const rows = (from: number) => counting(24).slice(e * 12 + from * 3, e * 12 + from * 3 + 6);
        stored.set(`${place}.${e}.${gate}.weight`, float32(rows(0), [hidden, width]));
        stored.set(`${place}.${e}.${up}.weight`, float32(rows(2), [hidden, width]));
        stored.set(`${place}.${e}.${out}.weight`, float32(counting(12, -1).slice(e * 6, e * 6 + 6), [width, hidden]));
      }
      const folded = await readAll(await foldSmall(stored, [adapterFolder(config, factors())]));
      for (let e = 0; e < experts; e++) {
        const of = (name: string) => [...folded.get(`${place}.${e}.${name}.weight`)!.data];
        expect([...of(gate), ...of(up)]).toEqual(gateUp.slice(e * 12, e * 12 + 12));
        expect(of(out)).toEqual(down.slice(e * 6, e * 6 + 6));
      }
    });
  }

  test("is read in any range of rows, and comes back byte for byte when it is written", async () => {
    const folder = adapterFolder(config, factors());
    const folded = await foldSmall(base(), [folder]);
    const part = await folded.read(`${module}.gate_up_proj`, { range: { start: 10, end: 17 } });
    expect([...part.data]).toEqual(gateUp.slice(10, 17));
    const adapter = await openAdapter(folder);
    expect(Buffer.from((await writeAdapter(adapter)).weights)).toEqual(Buffer.from(writeSafetensors(factors())));
  });

  test("is taken back by arithmetic", async () => {
    const adapter = await openAdapter(adapterFolder(config, factors()));
    const folded = new Map<string, Tensor>([
      [`${module}.gate_up_proj`, float32(gateUp, [experts, sides, width])],
      [`${module}.down_proj`, float32(down, [experts, width, hidden])],
    ]);
    const unfolded = await readAll(
      unfoldAdapters({ checkpoint: await memoryCheckpoint(folded) }, [adapter]).checkpoint,
    );
    expect([...unfolded.get(`${module}.gate_up_proj`)!.data]).toEqual(counting(24));
    expect([...unfolded.get(`${module}.down_proj`)!.data].map((value) => Number(value) + 0)).toEqual(
      counting(12, -1).map((value) => value + 0),
    );
  });

  test("beside ordinary modules; a plain weight may be a parameter too", async () => {
    const tensors = factors();
    const q = "base_model.model.model.layers.0.self_attn.q_proj";
    const o = "base_model.model.model.layers.0.self_attn.o_proj";
    for (const name of [q, o]) {
      tensors.set(`${name}.lora_A.weight`, weights("A", [2, 3]));
      tensors.set(`${name}.lora_B.weight`, weights("B", [3, 2]));
    }
    const stored = base();
    stored.set("model.layers.0.self_attn.q_proj.weight", weights("w", [3, 3]));
    stored.set("model.layers.0.self_attn.o_proj.weight", weights("w", [3, 3]));
    const both = {
      ...config,
      target_modules: ["q_proj"],
      target_parameters: [...config.target_parameters, "o_proj.weight"],
    };
    const folded = await readAll(await foldSmall(stored, [adapterFolder(both, tensors)]));
    expect(folded.get("model.layers.0.self_attn.o_proj.weight")!.data).toEqual(
      folded.get("model.layers.0.self_attn.q_proj.weight")!.data,
    );
    expect(folded.get("model.layers.0.self_attn.q_proj.weight")!.data).not.toEqual(weights("w", [3, 3]).data);
    expect([...folded.get(`${module}.down_proj`)!.data]).toEqual(down);
  });

  test("square experts of one parameter are turned as the model's type says, and refused without it", async () => {
    const square = new Map<string, Tensor>([[`${module}.gate_up_proj`, float32(new Array(8).fill(0), [2, 2, 2])]]);
    const tensors = new Map<string, Tensor>([
      [`base_model.model.${module}.lora_A.weight`, float32([1, 2, 3, 4], [2, 2])],
      [`base_model.model.${module}.lora_B.weight`, float32([1, 5, 10, 50], [2, 2])],
    ]);
    const one = { peft_type: "LORA", r: 1, lora_alpha: 1, target_modules: [], target_parameters: ["gate_up_proj"] };
    const fold = async (type: string | undefined) => {
      const folded = await foldSmall(square, [adapterFolder(one, tensors)], {}, { model_type: type });
      return [...(await folded.read(`${module}.gate_up_proj`)).data];
    };
    expect(await fold("qwen3_moe")).toEqual([1, 2, 10, 20, 15, 20, 150, 200]);
    expect(await fold("gpt_oss")).toEqual([1, 10, 2, 20, 15, 150, 20, 200]);
    await expect(fold(undefined)).rejects.toMatchObject({ code: "AMBIGUOUS_ADAPTER" });
  });

  for (const [what, change, code, says] of [
    ["a factor that is missing", { remove: `${module}.lora_B.weight` }, "MISSING_TENSOR", "lora_B.weight"],
    ["ranks that disagree", { config: { rank_pattern: {} } }, "SHAPE_MISMATCH", "lora_A.weight"],
    ["experts of another size", { experts: 3 }, "SHAPE_MISMATCH", "fit no parameter"],
    [
      "a parameter that nobody names",
      { config: { target_parameters: ["experts.down_proj"] } },
      "UNKNOWN_TENSOR",
      "2 parameters",
    ],
    ["DoRA", { config: { use_dora: true } }, "UNSUPPORTED_ADAPTER", "target_parameters"],
    ["PiSSA", { config: { init_lora_weights: "pissa" } }, "UNSUPPORTED_ADAPTER", "pissa"],
    ["AdaLoRA", { config: { peft_type: "ADALORA" } }, "UNSUPPORTED_ADAPTER", "adalora"],
    ["one name instead of a list", { config: { target_parameters: "experts" } }, "INVALID_OPTION", "list"],
    ["a file without wrappers", { clear: true }, "MISSING_TENSOR", "target_parameters"],
  ] as const) {
    test(`${what}: refused by name`, async () => {
      const {
        remove,
        config: more,
        experts: count,
        clear,
      } = { ...change } as {
        remove?: string;
        config?: object;
        experts?: number;
        clear?: boolean;
      };
      const tensors = factors();
      if (remove !== undefined) tensors.delete(`base_model.model.${remove}`);
      if (clear) tensors.clear();
      const stored = base();
      if (count !== undefined) stored.set(`${module}.down_proj`, weights("d", [count, width, hidden]));
      const error = await foldSmall(stored, [adapterFolder({ ...config, ...more }, tensors)]).then(
        readAll,
        (reason: unknown) => reason,
      );
      expect(error).toMatchObject({ code, message: expect.stringContaining(says) });
    });
  }
});
