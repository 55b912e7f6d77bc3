import { type Checkpoint, type TensorInfo, tensorBytes, tensorFromBytes } from "@loomweight/checkpoint";
import { byteLengthOf, elementCount, fromData, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";
import { adapterMethods } from "../catalogue.ts";
import { factorize } from "../methods/lokr.ts";
import type { Adapter } from "../peft/adapter.ts";
import { commonFields, targetFields } from "../peft/fields.ts";
import type { Json, PeftConfig } from "../peft/format.ts";
import { keyPrefix, type ReadAdapterOptions, readAdapter } from "../peft/read-adapter.ts";
import { type ForeignModule, readForeignModules } from "./foreign-keys.ts";
import { resolveModules } from "./resolve-modules.ts";

/** What a foreign file holds, as adapters. */
export interface ForeignAdapters {
  /** One for each component and type: LoRAs with and without magnitudes are apart. They change different modules. */
  readonly adapters: readonly Adapter[];
  readonly warnings: readonly string[];
}

/** A tensor under PEFT's name: of the file under another shape, or made from others. */
interface Entry {
  readonly info: TensorInfo;
  readonly made?: Uint8Array;
}

interface PeftModule {
  readonly type: string;
  readonly rank: number;
  readonly alpha: number;
  /** Options that PEFT can only say for all modules together. */
  readonly common: PeftConfig;
  readonly entries: ReadonlyMap<string, Entry>;
}

/**
 * A file in kohya's layout (sd-scripts, LyCORIS: `lora_unet_….lora_down.weight`, `alpha`, `dora_scale`, `lora_mid`,
 * `hada_…`, `lokr_…`) or in diffusers' (`unet.….lora.down.weight`, `transformer.….lora_A.weight`, …), as the adapters
 * that PEFT would have stored. kohya writes "_" for "." in paths: `base` says which modules are meant. Without a base
 * only diffusers' names can be read, as they stand. Scalings: `alpha` of the file, else of diffusers' metadata, else
 * the rank. Tensors stay on disk but for alphas and the middle factors of convolutions, which are multiplied out.
 *
 * Throws `UNEXPECTED_TENSOR`, `MISSING_TENSOR`, `MISSING_OPTION`, `SHAPE_MISMATCH`, `UNSUPPORTED_ADAPTER`, and what
 * `resolveModules` and `readAdapter` throw.
 */
export async function readForeignAdapters(
  file: Checkpoint,
  base: Checkpoint | undefined,
  options: ReadAdapterOptions = {},
): Promise<ForeignAdapters> {
  const modules = readForeignModules(file.tensors.values());
  if (modules.length === 0) {
    throw new LoomweightError({ code: "EMPTY_ADAPTER", problem: "the file holds no tensors", file: file.location });
  }
  if (base === undefined) requireDots(modules, file.location);
  const { components, warnings } =
    base === undefined
      ? { components: byComponent(modules), warnings: [] }
      : resolveModules(modules, base, file.location);
  const adapters: Adapter[] = [];
  for (const { component, modules: resolved } of components) {
    const groups = new Map<string, Map<string, PeftModule>>();
    for (const [path, module] of resolved) {
      const shape = base?.tensors.get(`${path}.weight`)?.shape;
      const read = await peftModule(file, path, module, shape);
      const id = `${read.type} ${JSON.stringify(read.common)}`;
      const group = groups.get(id) ?? new Map<string, PeftModule>();
      groups.set(id, group);
      group.set(path, read);
    }
    for (const group of groups.values()) adapters.push(asAdapter(file, component, group, options));
  }
  return { adapters, warnings };
}

function requireDots(modules: readonly ForeignModule[], location: string): void {
  const kohya = modules.find(({ layout }) => layout === "kohya");
  if (kohya === undefined) return;
  throw new LoomweightError({
    code: "MISSING_OPTION",
    problem: `kohya's keys do not tell "." from "_" in the paths of modules ("${kohya.name}"): the model says which are meant`,
    file: location,
    option: "base",
    expected: "the model it adapts",
  });
}

function byComponent(modules: readonly ForeignModule[]) {
  return [...new Set(modules.map(({ component }) => component))].map((component) => ({
    component,
    modules: new Map(modules.filter((each) => each.component === component).map((each) => [each.name, each])),
  }));
}

async function peftModule(
  file: Checkpoint,
  path: string,
  module: ForeignModule,
  weight: readonly number[] | undefined,
): Promise<PeftModule> {
  const alpha = (await readAlpha(file, module)) ?? metadataAlpha(file, module);
  const key = (name: string) => `${keyPrefix}${path}.${name}`;
  const entries = new Map<string, Entry>();
  if (module.kind !== "lora") {
    for (const [name, info] of module.tensors) if (name !== "alpha") entries.set(key(name), { info });
    return { ...kindFacts(module, alpha, weight), entries };
  }
  const [down, up] = [tensorOf(module, "lora_A.weight"), tensorOf(module, "lora_B.weight")];
  const rank = up.shape[1] ?? 0;
  const mid = module.tensors.get("mid");
  entries.set(key("lora_A.weight"), await factorA(file, down, mid, weight));
  entries.set(key("lora_B.weight"), { info: withKernel(up, weight, true) });
  const magnitude = module.tensors.get("lora_magnitude_vector");
  if (magnitude !== undefined) {
    if (
      elementCount(magnitude.shape) !== up.shape[0] ||
      (magnitude.shape[0] === 1 && up.shape[0] !== 1 && magnitude.shape.length === 2)
    ) {
      throw new LoomweightError({
        code: "UNSUPPORTED_ADAPTER",
        problem: "the magnitudes are those of inputs (LyCORIS without wd_on_output); DoRA here scales outputs",
        file: magnitude.file,
        tensor: magnitude.name,
        expected: `${up.shape[0]} numbers, one for each output`,
        found: `[${magnitude.shape}]`,
      });
    }
    const kernel = (weight?.length ?? down.shape.length) > 2 ? (weight?.length ?? down.shape.length) - 2 : 0;
    const shape = kernel > 0 ? [1, up.shape[0], ...new Array<number>(kernel).fill(1)] : [up.shape[0]];
    entries.set(key("lora_magnitude_vector"), { info: { ...magnitude, shape } });
  }
  return {
    ...{ type: magnitude === undefined ? "LORA" : "DORA", rank, alpha: alpha ?? rank, entries },
    common: magnitude === undefined ? {} : { use_dora: true },
  };
}

/** Types, rank, scaling and the options of LoHa and LoKr that their shapes tell. */
function kindFacts(
  module: ForeignModule,
  alpha: number | undefined,
  weight: readonly number[] | undefined,
): Omit<PeftModule, "entries"> {
  const { tensors } = module;
  const shape = (name: string) => tensors.get(name)?.shape;
  if (module.kind === "loha") {
    const rank = tensorOf(module, "hada_w1_b").shape[0];
    const core = tensors.has("hada_t1");
    return { type: "LOHA", rank, alpha: alpha ?? rank, common: core ? { use_effective_conv2d: true } : {} };
  }
  const core = shape("lokr_t2");
  const first = shape("lokr_w1") ?? [tensorOf(module, "lokr_w1_a").shape[0], tensorOf(module, "lokr_w1_b").shape[1]];
  const own = shape("lokr_w1_b")?.[0] ?? shape("lokr_w2_b")?.[0];
  const second = shape("lokr_w2");
  const whole = own === undefined;
  // Both factors whole: the scale is one, whatever alpha says (LyCORIS sets it to the rank it was asked for).
  const rank = own ?? Math.max(second?.[0] ?? 1, second?.[1] ?? 1);
  const out = first[0] * (second?.[0] ?? (core === undefined ? shape("lokr_w2_a")?.[0] : shape("lokr_w2_a")?.[1]) ?? 1);
  const kernel = elementCount(weight?.slice(2) ?? second?.slice(2) ?? core?.slice(2) ?? []);
  const inner =
    second?.[1] ?? (core === undefined ? (shape("lokr_w2_b")?.[1] ?? 1) / kernel : shape("lokr_w2_b")?.[1]) ?? 1;
  return {
    ...{ type: "LOKR", rank, alpha: whole ? rank : (alpha ?? rank) },
    common: {
      decompose_factor: kroneckerFactor(module, first, out, first[1] * inner),
      ...(tensors.has("lokr_w1_a") ? { decompose_both: true } : {}),
      ...(core === undefined ? {} : { use_effective_conv2d: true }),
    },
  };
}

/** The factor by which a layer [out, in] is split so that the first matrix has the sides the file says. */
function kroneckerFactor(module: ForeignModule, first: readonly number[], out: number, width: number): number {
  const candidates = [-1, ...first, ...Array.from({ length: Math.max(...first) }, (_, i) => i + 1)];
  const found = candidates.find(
    (factor) => factorize(out, factor)[0] === first[0] && factorize(width, factor)[0] === first[1],
  );
  if (found !== undefined) return found;
  const [info] = module.tensors.values();
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: "no factor splits this layer the way the file's Kronecker product does",
    file: info.file,
    tensor: info.name,
    found: `[${first}] of a layer [${out}, ${width}]`,
  });
}

function tensorOf(module: ForeignModule, name: string): TensorInfo {
  const info = module.tensors.get(name);
  if (info !== undefined) return info;
  const [other] = module.tensors.values();
  throw new LoomweightError({
    code: "MISSING_TENSOR",
    problem: `the module "${module.name}" lacks a tensor`,
    file: other.file,
    expected: name,
    found: [...module.tensors.values()].map((each) => each.name).join(", "),
    fix: "The file is incomplete; save the adapter again.",
  });
}

async function readAlpha(file: Checkpoint, module: ForeignModule): Promise<number | undefined> {
  const info = module.tensors.get("alpha");
  if (info === undefined) return undefined;
  if (elementCount(info.shape) !== 1) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "alpha is one number",
      file: info.file,
      tensor: info.name,
      found: `[${info.shape}]`,
    });
  }
  const [alpha] = toFloat64(await file.read(info.name));
  if (Number.isFinite(alpha)) return alpha;
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: "alpha is not a finite number",
    file: info.file,
    tensor: info.name,
  });
}

/** The scaling that diffusers writes into the file's metadata. */
function metadataAlpha(file: Checkpoint, { component }: ForeignModule): number | undefined {
  const text = file.metadata.lora_adapter_metadata;
  if (text === undefined || text.length > 1_000_000) return undefined;
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch {
    return undefined; // a note of another tool
  }
  const alpha = (values as Readonly<Record<string, unknown>> | null)?.[`${component}.lora_alpha`];
  return typeof alpha === "number" && Number.isFinite(alpha) ? alpha : undefined;
}

/** Factor A; with a middle factor [rank, rank, ...kernel]: A[p, i, k] = Σ_q mid[p, q, k] down[q, i]. */
async function factorA(
  file: Checkpoint,
  down: TensorInfo,
  mid: TensorInfo | undefined,
  weight: readonly number[] | undefined,
): Promise<Entry> {
  if (mid === undefined) return { info: withKernel(down, weight, false) };
  const [rows, inner, ...kernel] = mid.shape;
  const width = down.shape[1];
  if (down.shape[0] !== inner) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "the middle factor does not fit the one below it",
      file: mid.file,
      tensor: mid.name,
      expected: `[rank, ${down.shape[0]}, …]`,
      found: `[${mid.shape}]`,
    });
  }
  const [m, d] = await Promise.all([mid, down].map(async ({ name }) => toFloat64(await file.read(name))));
  const size = elementCount(kernel);
  const product = new Float32Array(rows * width * size);
  for (let p = 0; p < rows; p++) {
    for (let i = 0; i < width; i++) {
      for (let k = 0; k < size; k++) {
        let sum = 0;
        for (let q = 0; q < inner; q++) sum += m[(p * inner + q) * size + k] * d[q * width + i];
        product[(p * width + i) * size + k] = sum;
      }
    }
  }
  const made = fromData("float32", product, [rows, width, ...kernel]) as Tensor;
  const bytes = tensorBytes(made);
  return { info: { ...down, dtype: "float32", shape: made.shape, byteLength: bytes.length }, made: bytes };
}

/**
 * A factor with the number of axes of the weight it changes: files hold linear layers as 1×1 convolutions, and the other
 * way round. B of a convolution is 1×1.
 */
function withKernel(info: TensorInfo, weight: readonly number[] | undefined, isB: boolean): TensorInfo {
  if (weight === undefined || weight.length === info.shape.length) return info;
  const [rows, columns, ...kernel] = info.shape;
  if (elementCount(kernel) !== 1 && weight.length === 2) return info;
  if (info.shape.length === 2 && !isB && elementCount(weight.slice(2)) !== 1) return info;
  return { ...info, shape: [rows, columns, ...new Array<number>(Math.max(0, weight.length - 2)).fill(1)] };
}

/** PEFT's configuration and tensors of modules of one type. */
function asAdapter(
  file: Checkpoint,
  component: string,
  modules: ReadonlyMap<string, PeftModule>,
  options: ReadAdapterOptions,
): Adapter {
  const [first] = modules.values();
  const type = first.type === "DORA" ? "LORA" : first.type;
  const alphaField = type === "LORA" ? "lora_alpha" : "alpha";
  const rank = mostCommon([...modules.values()].map((module) => module.rank));
  const alpha = mostCommon([...modules.values()].map((module) => module.alpha));
  const method = (options.methods ?? adapterMethods).find(
    ({ files }) => files.peftTypes.includes(type) && (files.applies?.({ ...first.common, peft_type: type }) ?? true),
  );
  const fields = { ...commonFields, ...targetFields, ...method?.files.fields };
  const config: Record<string, Json> = {};
  for (const [name, field] of Object.entries(fields)) if (name !== "runtime_config") config[name] = field.default;
  Object.assign(config, first.common, {
    ...{ peft_type: type, r: rank, [alphaField]: alpha, target_modules: [...modules.keys()] },
    rank_pattern: different(modules, "rank", rank),
    alpha_pattern: different(modules, "alpha", alpha),
  });
  const entries = new Map([...modules.values()].flatMap((module) => [...module.entries]));
  const label = component === "" ? file.location : `${file.location} (${component})`;
  const adapter = readAdapter(config, renamed(file, entries, label), { ...options, file: file.location });
  return { ...adapter, location: label };
}

function different(
  modules: ReadonlyMap<string, PeftModule>,
  field: "rank" | "alpha",
  usual: number,
): Record<string, number> {
  return Object.fromEntries(
    [...modules].flatMap(([path, module]) => (module[field] === usual ? [] : [[path, module[field]]])),
  );
}

function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((best, each) => (each[1] > best[1] ? each : best))[0];
}

/** The file's tensors under other names and shapes. */
function renamed(file: Checkpoint, entries: ReadonlyMap<string, Entry>, location: string): Checkpoint {
  const entry = (name: string): Entry => {
    const found = entries.get(name);
    if (found !== undefined) return found;
    throw new LoomweightError({ code: "UNKNOWN_TENSOR", problem: `no tensor "${name}"`, file: location });
  };
  const readBytes: Checkpoint["readBytes"] = async (name, options = {}) => {
    const { info, made } = entry(name);
    if (made === undefined) return file.readBytes(info.name, options);
    const part = made.subarray(options.start ?? 0, options.end ?? made.length);
    if (options.into === undefined) return part.slice();
    options.into.set(part);
    return options.into;
  };
  return {
    location,
    tensors: new Map([...entries].map(([name, { info }]) => [name, { ...info, name }])),
    metadata: { format: "pt" },
    readBytes,
    async read(name, { range, signal } = {}) {
      const { info } = entry(name);
      const bounds = range ?? { start: 0, end: elementCount(info.shape) };
      const bytes = await readBytes(name, {
        ...{ start: byteLengthOf(info.dtype, bounds.start), end: byteLengthOf(info.dtype, bounds.end), signal },
      });
      return tensorFromBytes(info.dtype, range === undefined ? info.shape : [range.end - range.start], bytes);
    },
    async close() {
      // the file is its opener's
    },
  };
}
