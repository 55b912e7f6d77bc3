import { bytesSource, openSafetensors, parseJsonObject, writeSafetensors } from "@loomweight/checkpoint";
import { LoomweightError, parseOptions, type Tensor, toFloat64, unknownName } from "@loomweight/tensor";
import { blockMethods } from "../block-catalogue.ts";
import type { BlockMethod } from "../define-block.ts";
import type { AdapterFiles } from "../peft/write-adapter.ts";
import type { BlockAdapterSpec, BlockAttachment, BlockSite } from "./blocks.ts";

/**
 * Two files of an adapter of block scope, in PEFT's layout of a folder but of our own type, which PEFT does not know:
 * adapter_config.json with method, every option and the sites, and its tensors in float32. `parameters`: trained ones;
 * default the attachment's first values. Throws `MISSING_TENSOR`.
 */
export function blockAdapterFiles(
  attachment: BlockAttachment,
  parameters: Readonly<Record<string, Tensor>> = attachment.parameters,
): AdapterFiles {
  const { method, options, sites } = attachment;
  const tensors = new Map<string, Tensor>();
  for (const name of Object.keys(attachment.parameters).sort()) {
    const tensor = parameters[name];
    if (tensor === undefined)
      throw new LoomweightError({ code: "MISSING_TENSOR", problem: "a parameter is missing", tensor: name });
    tensors.set(name, tensor);
  }
  const config = {
    adapter_type: method.name,
    options,
    sites: sites.map(({ path, input, output, residual, position }) => ({ path, input, output, residual, position })),
  };
  return {
    config: `${JSON.stringify(config, null, 2)}\n`,
    weights: writeSafetensors(tensors, { metadata: { format: "pt" } }),
  };
}

/**
 * What `blockAdapterFiles` wrote, to be handed to `attachBlocks`, which checks it against the graph. Throws
 * `UNKNOWN_METHOD` with the closest name, `INVALID_OPTION`, `UNKNOWN_OPTION`, `INVALID_ADAPTER`, `NON_FINITE`, and what
 * the readers of JSON and safetensors throw.
 */
export async function readBlockAdapter(
  files: { readonly config: string; readonly weights: Uint8Array<ArrayBuffer> },
  options: { readonly methods?: readonly BlockMethod[]; readonly location?: string } = {},
): Promise<BlockAdapterSpec> {
  const { methods = blockMethods, location = "adapter" } = options;
  const file = `${location}/adapter_config.json`;
  const config = parseJsonObject(new TextEncoder().encode(files.config), file);
  const name = String(config.adapter_type ?? config.peft_type ?? "");
  const method = methods.find((each) => each.name === name);
  if (method === undefined)
    throw unknownName({ kind: "adapter_type", name, known: methods.map((each) => each.name), code: "UNKNOWN_METHOD" });
  const checkpoint = await openSafetensors(bytesSource(files.weights, `${location}/adapter_model.safetensors`));
  const parameters: Record<string, Tensor> = {};
  for (const key of checkpoint.tensors.keys()) {
    const tensor = await checkpoint.read(key);
    if (!toFloat64(tensor).every(Number.isFinite)) {
      throw new LoomweightError({
        code: "NON_FINITE",
        problem: "the adapter holds NaN or infinity",
        file: location,
        tensor: key,
      });
    }
    parameters[key] = tensor;
  }
  const given = isRecord(config.options) ? config.options : {};
  return {
    method,
    options: parseOptions(method.options, given, method.name),
    sites: sitesOf(config.sites, file),
    parameters,
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function sitesOf(value: unknown, file: string): (string | BlockSite)[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  const sites = list.flatMap((each: unknown): readonly (string | BlockSite)[] => {
    if (typeof each === "string") return [each];
    if (!isRecord(each)) return [];
    const named = ["path", "input", "output"].every((key) => typeof each[key] === "string");
    const optional = ["residual", "position"].every((key) => each[key] === undefined || typeof each[key] === "string");
    return named && optional ? [each as unknown as BlockSite] : [];
  });
  if (sites.length > 0 && sites.length === list.length) return sites;
  throw new LoomweightError({
    code: "INVALID_ADAPTER",
    problem: "the sites are not a list of modules",
    file,
    option: "sites",
    expected: "paths, or { path, input, output, residual }",
    found: JSON.stringify(value)?.slice(0, 80) ?? "nothing",
  });
}
