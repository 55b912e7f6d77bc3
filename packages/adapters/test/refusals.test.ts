import { fileSetFromMap, writeSafetensors } from "@loomweight/checkpoint";
import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  adapterFolder,
  float32,
  foldSmall,
  openAdapter,
  readAll,
  smallAdapter,
  smallConfig,
  smallModel,
  weights,
} from "./small.ts";

const q0 = "base_model.model.model.layers.0.self_attn.q_proj";

interface Fault {
  readonly what: string;
  readonly code: string;
  /** What the message must say. */
  readonly says: readonly string[];
  readonly config?: Readonly<Record<string, unknown>>;
  readonly text?: string;
  change?(tensors: Map<string, Tensor>): void;
  readonly base?: Map<string, Tensor>;
}

const faults: readonly Fault[] = [
  { what: "configuration that is not JSON", text: "{", code: "INVALID_JSON", says: ["adapter_config.json"] },
  { what: "configuration that is a list", text: "[]", code: "INVALID_JSON", says: ["adapter_config.json"] },
  { what: "no peft_type", config: { peft_type: undefined }, code: "NOT_AN_ADAPTER", says: ["peft_type", "LORA"] },
  { what: "peft_type that is a number", config: { peft_type: 3 }, code: "NOT_AN_ADAPTER", says: ["peft_type"] },
  {
    what: "a type that is known and not built",
    config: { peft_type: "LILY" },
    code: "UNSUPPORTED_ADAPTER",
    says: ["LILY", "MISS"],
  },
  {
    what: "a type that nobody knows",
    config: { peft_type: "LORAA" },
    code: "UNKNOWN_ADAPTER",
    says: ["LORAA", "LORA"],
  },
  {
    what: "an unknown field with a value",
    config: { lora_aplha: 3 },
    code: "UNKNOWN_OPTION",
    says: ["lora_aplha", "lora_alpha"],
  },
  { what: "rank 0", config: { r: 0 }, code: "INVALID_OPTION", says: ["option r", "at least 1", "found 0"] },
  { what: "a rank that is text", config: { r: "many" }, code: "INVALID_OPTION", says: ["option r", "many"] },
  {
    what: "an alpha that is not finite",
    text: '{"peft_type":"LORA","r":2,"lora_alpha":NaN,"target_modules":["q_proj","up_proj"]}',
    code: "INVALID_OPTION",
    says: ["lora_alpha", "NaN"],
  },
  {
    what: "a rank pattern of rank 0",
    config: { rank_pattern: { q_proj: 0 } },
    code: "INVALID_OPTION",
    says: ["rank_pattern", "q_proj"],
  },
  {
    what: "a rank pattern that is a list",
    config: { rank_pattern: [3] },
    code: "INVALID_OPTION",
    says: ["rank_pattern"],
  },
  {
    what: "a rank pattern that is no pattern",
    config: { rank_pattern: { "(q": 2 } },
    code: "INVALID_PATTERN",
    says: ["rank_pattern", "(q"],
  },
  { what: "no target modules", config: { target_modules: null }, code: "MISSING_OPTION", says: ["target_modules"] },
  {
    what: "target modules that are numbers",
    config: { target_modules: [1] },
    code: "INVALID_OPTION",
    says: ["target_modules"],
  },
  {
    what: "a target pattern with a backreference",
    config: { target_modules: "(q)_\\1" },
    code: "UNSUPPORTED_PATTERN",
    says: ["target_modules", "backreferences"],
  },
  {
    what: "targets that match nothing in the file",
    config: { target_modules: ["k_proj"] },
    code: "UNEXPECTED_TENSOR",
    says: ["up_proj.lora_A.weight", "k_proj"],
  },
  {
    what: "excluded modules in the file",
    config: { exclude_modules: ["q_proj"] },
    code: "UNEXPECTED_TENSOR",
    says: ["q_proj"],
  },
  {
    what: "layers that are not selected",
    config: { layers_to_transform: [1] },
    code: "UNEXPECTED_TENSOR",
    says: ["layers.0"],
  },
  {
    what: "layers_to_transform beside a pattern",
    config: { target_modules: ".*", layers_to_transform: 1 },
    code: "INVALID_OPTION",
    says: ["layers_to_transform"],
  },
  {
    what: "a bias mode that does not exist",
    config: { bias: "some" },
    code: "INVALID_OPTION",
    says: ["bias", "lora_only"],
  },
  ...["pissa_niter_4", "corda", "lora_ga", "loftq"].map((init) => ({
    what: `initialisation ${init}`,
    config: { init_lora_weights: init },
    code: "UNSUPPORTED_ADAPTER",
    says: ["init_lora_weights", init],
  })),
  {
    what: "an initialisation nobody knows",
    config: { init_lora_weights: "gausian" },
    code: "UNSUPPORTED_ADAPTER",
    says: ["gaussian"],
  },
  ...(
    [
      ["alora_invocation_tokens", [1], "aLoRA"],
      ["arrow_config", { top_k: 1 }, "Arrow"],
      ["use_qalora", true, "QA-LoRA"],
      ["layer_replication", [[0, 1]], "layer replication"],
      ["megatron_config", { a: 1 }, "Megatron"],
    ] as const
  ).map(([field, value, says]) => ({
    what: `the field ${field}`,
    config: { [field]: value },
    code: "UNSUPPORTED_ADAPTER",
    says: [field, says],
  })),
  {
    what: "DoRA with a bias on B",
    config: { use_dora: true, lora_bias: true },
    code: "UNSUPPORTED_ADAPTER",
    says: ["lora_bias"],
  },
  {
    what: "a key without PEFT's prefix",
    change: (t) => t.set("lora_unet_x.lora_down.weight", weights("x", [2, 4])),
    code: "UNEXPECTED_TENSOR",
    says: ["lora_unet_x.lora_down.weight", "base_model.model."],
  },
  {
    what: "a misspelt key",
    change: (t) => t.set(`${q0}.lora_a.weigth`, weights("x", [2, 4])),
    code: "UNEXPECTED_TENSOR",
    says: ["lora_a.weigth", "lora_A.weight"],
  },
  {
    what: "A without B",
    change: (t) => t.delete(`${q0}.lora_B.weight`),
    code: "MISSING_TENSOR",
    says: [`${q0}.lora_B.weight`],
  },
  {
    what: "B without A",
    change: (t) => t.delete(`${q0}.lora_A.weight`),
    code: "MISSING_TENSOR",
    says: [`${q0}.lora_A.weight`],
  },
  {
    what: "a factor of another rank",
    change: (t) => t.set(`${q0}.lora_A.weight`, weights("x", [3, 4])),
    code: "SHAPE_MISMATCH",
    says: [`${q0}.lora_A.weight`, "[2,4]", "[3,4]", "r 2"],
  },
  {
    what: "a factor for a wider layer",
    change: (t) => t.set(`${q0}.lora_A.weight`, weights("x", [2, 5])),
    code: "SHAPE_MISMATCH",
    says: [`${q0}.lora_A.weight`, "[2,5]"],
  },
  {
    what: "a factor with three axes",
    change: (t) => t.set(`${q0}.lora_A.weight`, weights("x", [2, 4, 1])),
    code: "SHAPE_MISMATCH",
    says: [`${q0}.lora_A.weight`],
  },
  {
    what: "a factor of integers",
    change: (t) => t.set(`${q0}.lora_A.weight`, fromData("int32", new Int32Array(8), [2, 4])),
    code: "UNSUPPORTED_DTYPE",
    says: [`${q0}.lora_A.weight`, "int32"],
  },
  {
    what: "a bias on B that the configuration does not announce",
    change: (t) => t.set(`${q0}.lora_B.bias`, weights("x", [4])),
    code: "UNEXPECTED_TENSOR",
    says: [`${q0}.lora_B.bias`],
  },
  {
    what: "a bias on B of a layer without bias",
    config: { lora_bias: true, target_modules: ["q_proj"] },
    change: (t) => {
      t.clear();
      t.set(`${q0}.lora_A.weight`, weights("a", [2, 4]));
      t.set(`${q0}.lora_B.weight`, weights("b", [4, 2]));
      t.set(`${q0}.lora_B.bias`, weights("c", [4]));
    },
    code: "MISSING_TENSOR",
    says: ["model.layers.0.self_attn.q_proj.bias"],
  },
  {
    what: "magnitudes without use_dora",
    change: (t) => t.set(`${q0}.lora_magnitude_vector`, weights("x", [4])),
    code: "UNEXPECTED_TENSOR",
    says: ["use_dora"],
  },
  {
    what: "use_dora without magnitudes",
    config: { use_dora: true },
    code: "MISSING_TENSOR",
    says: ["lora_magnitude_vector"],
  },
  {
    what: "stored biases without a bias mode",
    change: (t) => t.set("base_model.model.model.layers.0.mlp.up_proj.base_layer.bias", weights("x", [6])),
    code: "UNEXPECTED_TENSOR",
    says: ["bias"],
  },
  {
    what: "a stored bias of another length",
    config: { bias: "all" },
    change: (t) => t.set("base_model.model.model.layers.0.mlp.up_proj.base_layer.bias", weights("x", [5])),
    code: "SHAPE_MISMATCH",
    says: ["up_proj.base_layer.bias", "[5]", "[6]"],
  },
  {
    what: "a stored bias that the base does not have",
    config: { bias: "all" },
    change: (t) => t.set("base_model.model.model.norm.bias", weights("x", [4])),
    code: "UNKNOWN_TENSOR",
    says: ["model.norm.bias"],
  },
  {
    what: "an embedding of a resized vocabulary",
    change: (t) => t.set("base_model.model.model.embed_tokens.weight", weights("x", [9, 4])),
    code: "SHAPE_MISMATCH",
    says: ["embed_tokens", "resized"],
  },
  { what: "a file without tensors", change: (t) => t.clear(), code: "EMPTY_ADAPTER", says: ["adapter"] },
  {
    what: "a base without the modules",
    base: new Map([["other.weight", weights("x", [4, 4])]]),
    code: "UNKNOWN_TENSOR",
    says: ["model.layers.0", "base.safetensors"],
  },
  {
    what: "a base whose modules have other names",
    base: new Map([...smallModel()].map(([name, tensor]) => [name.replace("q_proj", "q_prj"), tensor])),
    code: "UNKNOWN_TENSOR",
    says: ["q_proj", "q_prj"],
  },
  {
    what: "a quantized base",
    base: new Map([
      ...smallModel(),
      ["model.layers.0.self_attn.q_proj.weight", fromData("uint8", new Uint8Array(16), [4, 4])],
    ]),
    code: "UNSUPPORTED_DTYPE",
    says: ["q_proj", "uint8"],
  },
  {
    what: "MiSS on a convolution",
    config: { peft_type: "MISS", r: 2, lora_alpha: undefined },
    change: (t) => {
      t.clear();
      t.set(`${q0}.miss_block`, weights("x", [2, 4]));
    },
    base: new Map([...smallModel(), ["model.layers.0.self_attn.q_proj.weight", weights("c", [4, 4, 3])]]),
    code: "UNSUPPORTED_LAYER",
    says: ["convolution"],
  },
  {
    what: "MiSS with an unknown mode",
    config: { peft_type: "MISS", r: 2, lora_alpha: undefined, init_weights: "bad" },
    change: (t) => {
      t.clear();
      t.set(`${q0}.miss_block`, weights("x", [2, 4]));
    },
    code: "INVALID_OPTION",
    says: ["init_weights", "bat"],
  },
  {
    what: "bat whose rank does not divide",
    config: { peft_type: "MISS", r: 3, lora_alpha: undefined, init_weights: "bat" },
    change: (t) => {
      t.clear();
      t.set(`${q0}.miss_block`, weights("x", [1, 3, 3]));
    },
    code: "INVALID_OPTION",
    says: ["rank", "divisor of 4"],
  },
];

async function openAll({ config, text, change, base }: Fault): Promise<void> {
  const small = smallAdapter();
  change?.(small.tensors);
  const folder = adapterFolder(text ?? { ...small.config, ...config }, small.tensors);
  await readAll(await foldSmall(base ?? smallModel(), [folder]));
}

describe("what does not fit is refused by name", () => {
  test.for(faults)("$what", async (fault) => {
    const error = await openAll(fault).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(LoomweightError);
    const { code, message } = error as LoomweightError;
    expect([code, message]).toEqual([fault.code, message]);
    for (const part of fault.says) expect(message).toContain(part);
  });
});

test("a value that is not finite in a factor is named", async () => {
  const small = smallAdapter();
  small.tensors.set(`${q0}.lora_A.weight`, float32([0, 1, Number.NaN, 0, 0, 0, 0, 0], [2, 4]));
  const folded = await foldSmall(smallModel(), [adapterFolder(small.config, small.tensors)]);
  await expect(folded.read("model.layers.0.self_attn.q_proj.weight")).rejects.toThrow(
    expect.objectContaining({ code: "NON_FINITE", message: expect.stringContaining(`${q0}.lora_A.weight`) }),
  );
  await expect(folded.read("model.layers.1.self_attn.q_proj.weight")).resolves.toBeDefined();
});

test("a result beyond the range of its dtype is named; it may be allowed", async () => {
  const small = smallAdapter();
  small.tensors.set(`${q0}.lora_A.weight`, float32([1e5, 0, 0, 0, 0, 0, 0, 0], [2, 4]));
  const folder = adapterFolder(small.config, small.tensors);
  const name = "model.layers.0.self_attn.q_proj.weight";
  const folded = await foldSmall(smallModel(), [folder], { dtype: "float16" });
  await expect(folded.read(name)).rejects.toThrow(
    expect.objectContaining({ code: "NON_FINITE", message: expect.stringContaining(name) }),
  );
  const allowed = await foldSmall(smallModel(), [folder], { dtype: "float16", allowNonFinite: true });
  expect((await allowed.read(name)).dtype).toBe("float16");
});

test.each([
  ["adapter_model.bin", "UNSUPPORTED_FORMAT", "pickle"],
  ["config.json", "MISSING_FILE", "holds a model"],
])("a folder with %s instead is explained", async (name, code, says) => {
  const files = new Map([[name, new TextEncoder().encode("{}")]]);
  if (name.endsWith(".bin"))
    files.set("adapter_config.json", new TextEncoder().encode(JSON.stringify(smallAdapter().config)));
  await expect(openAdapter(fileSetFromMap(files, "folder"))).rejects.toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(says) }),
  );
});

test("configurations of any shape give an adapter or a LoomweightError, never anything else", async () => {
  const bytes = writeSafetensors(smallAdapter().tensors);
  const fields = [
    "r",
    "lora_alpha",
    "use_rslora",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "bias",
    "init_lora_weights",
    "fan_in_fan_out",
    "task_type",
    "peft_type",
    "init_weights",
    "mini_r",
    "use_dora",
    "__proto__",
    "constructor",
  ];
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.constantFrom(...fields), fc.jsonValue({ maxDepth: 2 })), async (changes) => {
      const config = JSON.stringify({ ...smallAdapter().config, ...changes });
      const files = new Map([
        ["adapter_config.json", new TextEncoder().encode(config)],
        ["adapter_model.safetensors", bytes],
      ]);
      try {
        const folded = await foldSmall(smallModel(), [fileSetFromMap(files, "adapter")], {}, smallConfig);
        await readAll(folded);
      } catch (error) {
        if (!(error instanceof LoomweightError)) throw error;
        expect(error.code).not.toBe("INTERNAL");
      }
    }),
    { numRuns: 300, seed: 7 },
  );
});
