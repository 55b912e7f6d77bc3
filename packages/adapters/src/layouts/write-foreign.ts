import { writeSafetensors } from "@loomweight/checkpoint";
import {
  cast,
  type DType,
  elementCount,
  type FloatDType,
  fromData,
  LoomweightError,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";
import { lowRankScale } from "../maths/low-rank.ts";
import type { AdaptedModule, Adapter } from "../peft/adapter.ts";
import type { KeyLayout } from "./foreign-keys.ts";
import { flattened } from "./resolve-modules.ts";

export interface WriteForeignOptions {
  readonly layout: KeyLayout;
  /**
   * Which part of the pipeline the adapter belongs to, as keys begin. kohya: `lora_unet` (default), `lora_te1`, …;
   * diffusers: `unet` (default), `transformer`, `text_encoder`, …
   */
  readonly component?: string;
}

/** kohya's names of the factors; LoHa's and LoKr's are their own. */
const kohyaNames: Readonly<Record<string, string>> = {
  A: "lora_down.weight",
  B: "lora_up.weight",
  magnitude: "dora_scale",
};
const diffusersNames: Readonly<Record<string, string>> = {
  A: "lora_A.weight",
  B: "lora_B.weight",
  magnitude: "lora_magnitude_vector",
};

/**
 * A LoRA, DoRA, LoHa or LoKr as one file in kohya's layout or (LoRA and DoRA) in diffusers'. kohya's holds `alpha` for
 * each module; diffusers' scales by one, so that the factor B is multiplied by the scaling, rounded once where that is
 * no power of two. Throws `UNSUPPORTED_ADAPTER` naming what the layout has no place for.
 */
export async function foreignFile(
  adapter: Adapter,
  { layout, component = layout === "kohya" ? "lora_unet" : "unet" }: WriteForeignOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const { method } = adapter;
  const known = layout === "kohya" ? ["lora", "dora", "loha", "lokr"] : ["lora", "dora"];
  if (!known.includes(method.name)) throw noPlace(adapter, layout, `the method ${method.name}`);
  const [replaced] = adapter.replacements.keys();
  if (replaced !== undefined) throw noPlace(adapter, layout, `whole tensors ("${replaced}")`);
  if (adapter.wrapped !== undefined) throw noPlace(adapter, layout, "single parameters (target_parameters)");
  const tensors = new Map<string, Tensor>();
  for (const module of adapter.modules.values()) {
    if (module.method !== method) throw noPlace(adapter, layout, `${module.method.name} ("${module.path}")`);
    if (module.kind === "embedding") throw noPlace(adapter, layout, `embeddings ("${module.path}")`);
    if (
      module.options.init !== undefined &&
      module.options.init !== "uniform" &&
      /pissa|olora/.test(String(module.options.init))
    ) {
      throw noPlace(adapter, layout, `a base that ${module.options.init} changed`);
    }
    const name = layout === "kohya" ? `${component}_${flattened(module.path)}` : `${component}.${module.path}`;
    await addModule(tensors, name, adapter, module, layout);
  }
  const sorted = new Map([...tensors].sort(([a], [b]) => (a < b ? -1 : 1)));
  return writeSafetensors(sorted, { metadata: { format: "pt" } });
}

async function addModule(
  tensors: Map<string, Tensor>,
  name: string,
  adapter: Adapter,
  module: AdaptedModule,
  layout: KeyLayout,
): Promise<void> {
  const isLora = module.method.name === "lora" || module.method.name === "dora";
  const { rank } = module.options as { rank: number };
  const scale = isLora
    ? lowRankScale(module.options as Parameters<typeof lowRankScale>[0])
    : (module.options as { alpha: number }).alpha / rank;
  let dtype: DType = "float32";
  for (const [param, info] of module.params) {
    const names = layout === "kohya" ? kohyaNames : diffusersNames;
    const suffix = isLora ? names[param] : info.name.slice(info.name.lastIndexOf(".") + 1);
    if (suffix === undefined) throw noPlace(adapter, layout, `a bias on B ("${module.path}")`);
    let tensor = await adapter.checkpoint.read(info.name);
    dtype = tensor.dtype;
    if (param === "magnitude" && layout === "kohya") tensor = asColumn(tensor);
    if (param === "B" && isLora && layout === "diffusers" && scale !== 1) tensor = scaled(tensor, scale);
    tensors.set(`${name}.${suffix}`, tensor);
  }
  if (layout === "kohya") tensors.set(`${name}.alpha`, fromValues([scale * rank], dtype, []));
}

/** [out], or [1, out, 1, …] of a convolution, as [out, 1, …]: LyCORIS' magnitudes of outputs. */
function asColumn(tensor: Tensor): Tensor {
  const count = elementCount(tensor.shape);
  const shape = [count, ...new Array<number>(Math.max(1, tensor.shape.length - 1)).fill(1)];
  return fromData(tensor.dtype, tensor.data, shape) as Tensor;
}

function scaled(tensor: Tensor, scale: number): Tensor {
  return fromValues(
    [...toFloat64(tensor)].map((value) => value * scale),
    tensor.dtype,
    tensor.shape,
  );
}

function fromValues(values: readonly number[], dtype: DType, shape: readonly number[]): Tensor {
  const wide = fromData("float64", Float64Array.from(values), shape);
  return dtype === "float64" ? wide : cast(wide, dtype as FloatDType);
}

function noPlace(adapter: Adapter, layout: KeyLayout, what: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `${layout}'s layout has no place for ${what}`,
    file: adapter.location,
    fix: "Turn it into a LoRA first (extract-lora), or keep the PEFT folder.",
  });
}
