import type { TensorInfo } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";

/** How other tools name a low-rank adapter's tensors: kohya's sd-scripts and LyCORIS, or diffusers. */
export type KeyLayout = "kohya" | "diffusers";

export type ForeignKind = "lora" | "loha" | "lokr";

/** One adapted module as a foreign file has it. */
export interface ForeignModule {
  /** Which part of a pipeline it belongs to, as its keys begin: `lora_unet`, `lora_te1`, `unet`, `text_encoder`, "". */
  readonly component: string;
  /** kohya: the path with "_" for "."; diffusers: the path. */
  readonly name: string;
  readonly layout: KeyLayout;
  readonly kind: ForeignKind;
  /** By PEFT's names, and `mid` (the middle factor of a convolution) and `alpha`. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** What follows a module's name in a key: PEFT's name of the tensor, and the type of adapter that has it. */
const suffixes: readonly (readonly [string, string, ForeignKind | undefined])[] = [
  ["lora_down.weight", "lora_A.weight", "lora"],
  ["lora_up.weight", "lora_B.weight", "lora"],
  ["lora_mid.weight", "mid", "lora"],
  ["lora.down.weight", "lora_A.weight", "lora"],
  ["lora.up.weight", "lora_B.weight", "lora"],
  ["lora_linear_layer.down.weight", "lora_A.weight", "lora"],
  ["lora_linear_layer.up.weight", "lora_B.weight", "lora"],
  ["lora_A.weight", "lora_A.weight", "lora"],
  ["lora_B.weight", "lora_B.weight", "lora"],
  ["dora_scale", "lora_magnitude_vector", "lora"],
  ["lora_magnitude_vector.weight", "lora_magnitude_vector", "lora"],
  ["lora_magnitude_vector", "lora_magnitude_vector", "lora"],
  ...["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"].map(
    (name) => [name, name, "loha"] as const,
  ),
  ...["lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"].map(
    (name) => [name, name, "lokr"] as const,
  ),
  ["alpha", "alpha", undefined],
];

const kohyaKey = /^(lora_(?:unet|te\d?|transformer|prior_unet|prior_te|llm)|lycoris)_([^.]+)$/;
const components =
  /^(unet|transformer|transformer_2|text_encoder|text_encoder_2|text_encoder_3|prior|diffusion_model)\.(.+)$/;
/** Attention processors of early diffusers held their factors themselves. */
const processorKey = /^(.*)\.processor\.to_(q|k|v|out)_lora\.(down|up)\.weight$/;

/** Whether a file's keys are of a layout that is read here. */
export function isForeignKey(key: string): boolean {
  return !key.startsWith("base_model.") && parseKey(key) !== undefined;
}

/**
 * The modules of a foreign file. Throws `UNEXPECTED_TENSOR` naming a key of no known form, and `DUPLICATE_TENSOR`.
 */
export function readForeignModules(tensors: Iterable<TensorInfo>): ForeignModule[] {
  const found = new Map<string, ForeignModule & { kind: ForeignKind | undefined; tensors: Map<string, TensorInfo> }>();
  for (const info of tensors) {
    const key = parseKey(info.name);
    if (key === undefined) throw unknownKey(info);
    const id = `${key.layout} ${key.component} ${key.name}`;
    const module = found.get(id) ?? { ...key, kind: key.kind, tensors: new Map<string, TensorInfo>() };
    found.set(id, module as never);
    if (key.kind !== undefined && module.kind !== undefined && key.kind !== module.kind) {
      throw new LoomweightError({
        code: "UNEXPECTED_TENSOR",
        problem: `the module "${key.name}" holds tensors of ${module.kind} and of ${key.kind}`,
        file: info.file,
        tensor: info.name,
      });
    }
    if (module.tensors.has(key.param)) {
      throw new LoomweightError({
        code: "DUPLICATE_TENSOR",
        problem: `two tensors of the file stand for ${key.param} of "${key.name}"`,
        file: info.file,
        tensor: info.name,
      });
    }
    (module as { kind: ForeignKind | undefined }).kind ??= key.kind;
    module.tensors.set(key.param, info);
  }
  return [...found.values()].map((module) => {
    if (module.kind !== undefined) return module;
    const [info] = module.tensors.values();
    throw new LoomweightError({
      code: "MISSING_TENSOR",
      problem: `the file holds an alpha of "${module.name}" and no factors`,
      file: info.file,
      tensor: info.name,
    });
  });
}

interface ForeignKey {
  readonly component: string;
  readonly name: string;
  readonly layout: KeyLayout;
  readonly kind: ForeignKind | undefined;
  readonly param: string;
}

function parseKey(key: string): ForeignKey | undefined {
  const old = processorKey.exec(key);
  const plain = old === null ? key : `${old[1]}.to_${old[2] === "out" ? "out.0" : old[2]}.lora.${old[3]}.weight`;
  for (const [suffix, param, kind] of suffixes) {
    if (!plain.endsWith(`.${suffix}`)) continue;
    const module = plain.slice(0, -suffix.length - 1);
    const kohya = kohyaKey.exec(module);
    if (kohya !== null) return { component: kohya[1], name: kohya[2], layout: "kohya", kind, param };
    const [, component = "", name = module] = components.exec(module) ?? [];
    return { component, name, layout: "diffusers", kind, param };
  }
  return undefined;
}

function unknownKey(info: TensorInfo): LoomweightError {
  const isDifference = /\.(diff|diff_b)$/.test(info.name);
  return new LoomweightError({
    code: "UNEXPECTED_TENSOR",
    problem: isDifference
      ? "the file holds whole differences of weights, not only low-rank ones"
      : "a key of a LoRA file that neither kohya's nor diffusers' layout has",
    file: info.file,
    tensor: info.name,
    expected: "<module>.lora_down.weight, lora_A.weight, hada_w1_a, lokr_w1, alpha, dora_scale, …",
    fix: info.name.startsWith("base_model.")
      ? "These are PEFT's keys: give the folder that holds adapter_config.json too."
      : undefined,
  });
}
