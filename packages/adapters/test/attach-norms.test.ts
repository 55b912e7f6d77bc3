import {
  add,
  applyOne,
  assemble,
  cast,
  div,
  evaluateTrace,
  findRule,
  input,
  layerNormalization,
  lazyTensor,
  mul,
  named,
  opTables,
  parameter,
  pow,
  reduceMean,
  simplifiedLayerNormalization,
  skipSimplifiedLayerNormalization,
  sqrt,
  sub,
  type Value,
} from "@loomweight/graph";
import { contiguousData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type Attachment, attach } from "../src/attach/index.ts";
import { lnTuning, lora } from "../src/index.ts";
import { testRandom } from "./contract.ts";

const numbers = (name: string, shape: readonly number[]) => testRandom().uniform(name, shape, -1, 1);
const [gain, bias] = [numbers("gain", [6]), numbers("bias", [6])];
const x = input("x", "float32", [3, 6]);
const skip = input("skip", "float32", [3, 6]);
const own = (name: string, tensor: Tensor) => parameter(name, lazyTensor(tensor));

/** x / √(mean(x²) + ε), centred or not, in standard operators. */
function normalized(value: Value, centred: boolean): Value {
  const middle = centred ? sub(value, reduceMean(value, [-1])) : value;
  return div(middle, sqrt(add(reduceMean(pow(middle, 2), [-1]), 1e-5)));
}

const skipRule = findRule(opTables(), "com.microsoft", "SkipLayerNormalization") as NonNullable<
  ReturnType<typeof findRule>
>;

// Each form of a normalization, by what it computes with its stored gain and bias.
const forms: Readonly<Record<string, { readonly biased: boolean; build(gain: Value, bias: Value): Value }>> = {
  LayerNormalization: { biased: true, build: (g, b) => layerNormalization(x, g, b) },
  "LayerNormalization without bias": { biased: false, build: (g) => layerNormalization(x, g) },
  SimplifiedLayerNormalization: { biased: false, build: (g) => simplifiedLayerNormalization(x, g) },
  "a gain stored without its 1, as Gemma's": {
    biased: false,
    build: (g) => simplifiedLayerNormalization(x, add(g, 1)),
  },
  "RMSNorm in standard operators": { biased: false, build: (g) => mul(normalized(x, false), g) },
  "RMSNorm with the gain in front": { biased: false, build: (g) => mul(g, normalized(x, false)) },
  "LayerNorm in standard operators": { biased: true, build: (g, b) => add(mul(normalized(x, true), g), b) },
  SkipSimplifiedLayerNormalization: {
    biased: false,
    build: (g) => skipSimplifiedLayerNormalization(x, skip, g).y,
  },
  SkipLayerNormalization: { biased: true, build: (g, b) => applyOne(skipRule, [x, skip, g, b]) },
};

function model(form: string, names: readonly [string, string] = ["block.norm.weight", "block.norm.bias"]) {
  return assemble({
    name: "norm",
    inputs: [x, skip],
    outputs: { y: named("block/norm", () => forms[form].build(own(names[0], gain), own(names[1], bias))) },
  });
}

/** The graph's output; without parameters that of the model alone. */
async function outputOf(attachment: Attachment, parameters?: Readonly<Record<string, Tensor>>): Promise<number[]> {
  const weights: Record<string, Tensor> = {};
  for (const [name, { data }] of attachment.model.parameters) if (data !== undefined) weights[name] = await data.read();
  const values = Object.fromEntries(
    Object.entries(parameters ?? {}).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
  );
  const given = parameters === undefined ? { active: [] } : { parameters: values };
  const { y } = attachment.instantiate(given).outputs;
  const feeds = { ...weights, ...parameters, x: numbers("x", [3, 6]), skip: numbers("skip", [3, 6]) };
  return Array.from(contiguousData(evaluateTrace({ y }, feeds).y) as Float32Array);
}

describe("normalization layers", () => {
  test.for(Object.keys(forms))("ln-tuning on %s", async (form) => {
    const attachment = await attach(model(form), undefined, { method: lnTuning, targets: ["norm"] });
    const [module] = attachment.adapters[0].modules.values();
    expect(module.layer).toMatchObject({ kind: "normalization", out: 6, in: 1 });
    const names = forms[form].biased ? ["block.norm.gain", "block.norm.shift"] : ["block.norm.gain"];
    expect(Object.keys(attachment.parameters)).toEqual(names);
    // Fresh, the parameters are the layer's own.
    expect(contiguousData(attachment.parameters["block.norm.gain"])).toEqual(gain.data);
    if (forms[form].biased) expect(contiguousData(attachment.parameters["block.norm.shift"])).toEqual(bias.data);
    const before = await outputOf(attachment);
    (await outputOf(attachment, attachment.parameters)).forEach((value, i) => {
      expect(Math.abs(value - before[i])).toBeLessThan(1e-6);
    });
    // Others take the place of the layer's: what a model with those weights computes.
    const changed = { "block.norm.gain": numbers("other gain", [6]), "block.norm.shift": numbers("other bias", [6]) };
    const given = Object.fromEntries(names.map((name) => [name, changed[name as keyof typeof changed]]));
    const ours = await outputOf(attachment, given);
    const replaced = assemble({
      name: "norm",
      inputs: [x, skip],
      outputs: {
        y: forms[form].build(own("g", changed["block.norm.gain"]), own("b", changed["block.norm.shift"])),
      },
    });
    const theirs = await outputOf(await attach(replaced, undefined, { method: lnTuning, targets: ["g"] }));
    expect(ours.some((value, i) => Math.abs(value - before[i]) > 1e-2)).toBe(true);
    ours.forEach((value, i) => {
      expect(Math.abs(value - theirs[i])).toBeLessThan(2e-6);
    });
  });

  test("weights whose names say nothing go by the scope of their node, for modules_to_save too", async () => {
    const imported = model("LayerNorm in standard operators", ["onnx::Mul_12", "onnx::Add_13"]);
    const tuned = await attach(imported, undefined, { method: lnTuning, targets: ["norm"] });
    expect([...tuned.adapters[0].modules.keys()]).toEqual(["block.norm"]);
    const saved = await attach(imported, undefined, { method: lora, targets: ["none"], modulesToSave: ["norm"] });
    expect(saved.saved.map(({ path, initializer }) => [path, initializer])).toEqual([
      ["block.norm.weight", "onnx::Mul_12"],
      ["block.norm.bias", "onnx::Add_13"],
    ]);
  });

  test("a product with a vector is no normalization, and methods for matrices refuse one by name", async () => {
    const scaled = assemble({ name: "scaled", inputs: [x], outputs: { y: mul(x, own("block.scale", gain)) } });
    await expect(attach(scaled, undefined, { method: lnTuning, targets: ["block.scale"] })).rejects.toMatchObject({
      code: "NO_TARGET",
    });
    await expect(attach(model("LayerNormalization"), undefined, { method: lora, targets: ["norm"] })).rejects.toThrow(
      /lora does not adapt a layer of the kind normalization.*expected linear/,
    );
  });

  test("in half precision the adapter computes in float32 and gives back the graph's dtype", async () => {
    const half = input("x", "float16", [3, 6]);
    const stored = cast(gain, "float16") as Tensor;
    const graph = assemble({
      name: "norm",
      inputs: [half],
      outputs: { y: layerNormalization(half, own("norm.weight", stored)) },
    });
    const attachment = await attach(graph, undefined, { method: lnTuning, targets: ["norm"] });
    expect(attachment.parameters["norm.gain"].dtype).toBe("float32");
    expect(attachment.instantiate().outputs.y.dtype).toBe("float16");
  });
});
