import { dtypeFacts, invalidOption, LoomweightError } from "@loomweight/tensor";
import type { PlannedTensor, SafetensorsPlan } from "./checkpoint.ts";
import { checkPlainRelativePath, compareUtf8 } from "./file-names.ts";
import { safetensorsNameOfDType, safetensorsRank } from "./safetensors-dtypes.ts";
import { maxHeaderBytes, maxRank } from "./safetensors-header.ts";

export interface PlanOptions {
  /** Most data bytes of one file; a larger tensor gets a file of its own. Default 5 GB, as transformers long had it. */
  readonly maxShardBytes?: number;
  /** `__metadata__` of every file; default `{ format: "pt" }`, which transformers asks for. `{}` writes none. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Beginning of the file names; default `"model"`: `model.safetensors`, or `model-00001-of-00003.safetensors`. */
  readonly fileStem?: string;
}

const defaultMaxShardBytes = 5_000_000_000;
const maxShards = 99_999;

/**
 * Lays out tensors in safetensors files, before any data is read.
 *
 * Tensors are spread over files in the given order, each file filled as long as the next one fits (as huggingface_hub
 * does). Within a file they lie as the reference serializer puts them: wide dtypes first, then by name. So one file
 * has the very bytes of safetensors' own `save_file`, whatever the order of `tensors`, and everything lies aligned.
 *
 * Throws `DUPLICATE_TENSOR`, `INVALID_NAME`, `INVALID_SHAPE`, `UNSUPPORTED_DTYPE`, `INVALID_METADATA`,
 * `HEADER_TOO_LARGE`, `INVALID_OPTION`, `UNSAFE_NAME`.
 */
export function planSafetensors(tensors: Iterable<PlannedTensor>, options: PlanOptions = {}): SafetensorsPlan {
  const { maxShardBytes = defaultMaxShardBytes, metadata = { format: "pt" }, fileStem = "model" } = options;
  if (!(maxShardBytes > 0)) throw invalidOption({ option: "maxShardBytes" }, maxShardBytes, "a number above 0");
  if (fileStem.includes("/")) throw invalidOption({ option: "fileStem" }, fileStem, "a file name without folders");
  checkPlainRelativePath(fileStem, "fileStem", "the beginning of the output's file names");
  const metadataText = describeMetadata(metadata);

  const seen = new Set<string>();
  const sized = [...tensors].map((tensor) => {
    if (seen.has(tensor.name)) throw fault("DUPLICATE_TENSOR", tensor.name, "two tensors have one name");
    seen.add(tensor.name);
    return { ...tensor, byteLength: checkTensor(tensor), rank: safetensorsRank(tensor.dtype) };
  });
  const shards = split(sized, maxShardBytes);
  if (shards.length > maxShards) {
    throw invalidOption({ option: "maxShardBytes" }, maxShardBytes, `a size that gives at most ${maxShards} files`);
  }

  const files: { name: string; header: Uint8Array; size: number }[] = [];
  const places = new Map<string, { file: number; position: number; byteLength: number }>();
  for (const [file, shard] of shards.entries()) {
    shard.sort((a, b) => b.rank - a.rank || compareUtf8(a.name, b.name));
    let offset = 0;
    const entries = metadataText === undefined ? [] : [`"__metadata__":${metadataText}`];
    for (const { name, dtype, shape, byteLength } of shard) {
      const range = `[${offset},${offset + byteLength}]`;
      entries.push(
        `${JSON.stringify(name)}:{"dtype":"${safetensorsNameOfDType(dtype)}","shape":[${shape.join(",")}],"data_offsets":${range}}`,
      );
      offset += byteLength;
    }
    const name = shardName(fileStem, file, shards.length);
    const header = encodeHeader(`{${entries.join(",")}}`, name);
    offset = 0;
    for (const tensor of shard) {
      places.set(tensor.name, { file, position: header.length + offset, byteLength: tensor.byteLength });
      offset += tensor.byteLength;
    }
    files.push({ name, header, size: header.length + offset });
  }
  return {
    files,
    tensors: places,
    index: files.length > 1 ? describeIndex(sized, places, files) : undefined,
  };
}

/** File name of the index of a plan: `model.safetensors.index.json`. */
export function indexFileName(plan: SafetensorsPlan): string {
  return `${plan.files[0].name.replace(/(-\d{5}-of-\d{5})?\.safetensors$/, "")}.safetensors.index.json`;
}

function shardName(stem: string, index: number, count: number): string {
  if (count === 1) return `${stem}.safetensors`;
  const number = (value: number) => String(value).padStart(5, "0");
  return `${stem}-${number(index + 1)}-of-${number(count)}.safetensors`;
}

/** Fills files in order; what alone exceeds the size goes into a file of its own and leaves the open one open. */
function split<T extends { byteLength: number }>(tensors: readonly T[], maxBytes: number): T[][] {
  const shards: T[][] = [];
  let open: T[] = [];
  let bytes = 0;
  for (const tensor of tensors) {
    if (tensor.byteLength > maxBytes) {
      shards.push([tensor]);
      continue;
    }
    if (bytes + tensor.byteLength > maxBytes) {
      shards.push(open);
      open = [];
      bytes = 0;
    }
    open.push(tensor);
    bytes += tensor.byteLength;
  }
  if (open.length > 0 || shards.length === 0) shards.push(open);
  return shards;
}

function encodeHeader(json: string, file: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  if (length > maxHeaderBytes) {
    throw new LoomweightError({
      code: "HEADER_TOO_LARGE",
      file,
      problem: "the header would be larger than the format allows",
      expected: `at most ${maxHeaderBytes} bytes`,
      found: `${length}`,
      fix: "Write more, smaller files (maxShardBytes).",
    });
  }
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, 8);
  return header;
}

function describeMetadata(metadata: Readonly<Record<string, string>>): string | undefined {
  const entries = Object.entries(metadata);
  for (const [key, value] of entries) {
    if (typeof value !== "string" || isIllFormed(key) || isIllFormed(value)) {
      throw new LoomweightError({
        code: "INVALID_METADATA",
        option: `metadata.${key}`,
        problem: "metadata of safetensors files is text",
        expected: "a string of whole characters",
        found: typeof value === "string" ? "half a surrogate pair" : typeof value,
      });
    }
  }
  return entries.length === 0 ? undefined : JSON.stringify(Object.fromEntries(entries));
}

/** As transformers writes it: names sorted, two spaces, a line end at the end. */
function describeIndex(
  tensors: readonly { readonly name: string; readonly byteLength: number }[],
  places: SafetensorsPlan["tensors"],
  files: SafetensorsPlan["files"],
): string {
  let totalSize = 0;
  for (const { byteLength } of tensors) totalSize += byteLength;
  const names = tensors.map(({ name }) => name).sort(compareUtf8);
  const lines = names.map((name) => `    ${asciiJson(name)}: ${asciiJson(files[places.get(name)!.file].name)}`);
  return `{\n  "metadata": {\n    "total_size": ${totalSize}\n  },\n  "weight_map": {\n${lines.join(",\n")}\n  }\n}\n`;
}

/** JSON text with everything beyond ASCII escaped, as Python's json.dumps has it. */
function asciiJson(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (unit) =>
    unit === "\u007f" ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function checkTensor({ name, dtype, shape }: PlannedTensor): number {
  if (name === "__metadata__" || isIllFormed(name)) {
    throw fault("INVALID_NAME", name, "safetensors cannot hold a tensor of this name");
  }
  if (safetensorsNameOfDType(dtype) === undefined) {
    throw new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      tensor: name,
      problem: `safetensors cannot hold ${dtype}`,
      fix: "Cast it, or pack it into uint8, before it is written.",
    });
  }
  const { bits } = dtypeFacts[dtype];
  let elements = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw fault("INVALID_SHAPE", name, "sizes must be whole numbers of at least 0", `[${shape.join(", ")}]`);
    }
    elements *= size === 0 ? 1 : size;
    if (elements * bits > Number.MAX_SAFE_INTEGER) {
      throw fault("INVALID_SHAPE", name, "the shape overflows", `[${shape.join(", ")}]`);
    }
  }
  if (shape.length > maxRank) throw fault("INVALID_SHAPE", name, `more than ${maxRank} axes`, `${shape.length}`);
  const total = shape.includes(0) ? 0 : elements * bits;
  if (total % 8 !== 0) {
    throw fault("INVALID_SHAPE", name, `${bits}-bit elements do not fill whole bytes`, `[${shape.join(", ")}]`);
  }
  return total / 8;
}

function isIllFormed(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}

function fault(code: string, tensor: string, problem: string, found?: string): LoomweightError {
  return new LoomweightError({ code, tensor, problem, found });
}
