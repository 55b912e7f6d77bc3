import { LoomweightError } from "@loomweight/tensor";
import { blobSource } from "./blob-source.ts";
import { bytesSource } from "./bytes-source.ts";
import type { ByteSource, Checkpoint } from "./checkpoint.ts";
import { refuseByName } from "./file-kind.ts";
import { compareUtf8 } from "./file-names.ts";
import { openSafetensors } from "./safetensors.ts";
import { openSharded } from "./sharded.ts";

/** Files by name, wherever they lie: a folder on disk, what a user dropped on a page. */
export interface FileSet {
  /** For messages. */
  readonly location: string;
  /** Relative names, "/" between parts. */
  readonly names: readonly string[];
  /** Opens one of `names`, or another name that an index gives; undefined when there is no such file. */
  open(name: string): Promise<ByteSource | undefined>;
}

/** Files given as a map, as a page has them. A common leading folder (as directory pickers give) is taken off. */
export function fileSetFromMap(files: ReadonlyMap<string, Blob | Uint8Array>, location: string): FileSet {
  const all = [...files.keys()];
  const folder = commonFolder(all);
  const byName = new Map(all.map((name) => [name.slice(folder.length), files.get(name)!]));
  return {
    location,
    names: [...byName.keys()].sort(compareUtf8),
    async open(name) {
      const file = byName.get(name);
      if (file === undefined) return undefined;
      return file instanceof Uint8Array ? bytesSource(file, name) : blobSource(file, name);
    },
  };
}

/** `"model/"` for `model/config.json`, `model/model.safetensors`; empty where the names share no folder. */
function commonFolder(names: readonly string[]): string {
  const slash = names[0]?.indexOf("/") ?? -1;
  if (slash <= 0) return "";
  const folder = names[0].slice(0, slash + 1);
  return names.every((name) => name.startsWith(folder)) ? folder : "";
}

/** Which file of a folder its weights are read from: preferred names first. */
const preferredWeights = [
  "model.safetensors.index.json",
  "model.safetensors",
  "adapter_model.safetensors",
  "diffusion_pytorch_model.safetensors.index.json",
  "diffusion_pytorch_model.safetensors",
];

/**
 * The name of the weights in a folder: an index before a single file, usual names before others, the only one of its
 * kind otherwise. Throws `NO_WEIGHTS` (with what is there instead), `UNSUPPORTED_FORMAT`, `AMBIGUOUS_WEIGHTS`.
 */
export function chooseWeights(files: FileSet): string {
  const names = files.names.filter((name) => !name.includes("/"));
  for (const name of preferredWeights) if (names.includes(name)) return name;
  const indexes = names.filter((name) => name.endsWith(".safetensors.index.json"));
  if (indexes.length === 1) return indexes[0];
  const single = names.filter((name) => name.endsWith(".safetensors"));
  if (indexes.length === 0 && single.length === 1) return single[0];
  if (indexes.length > 1 || single.length > 1) {
    const candidates = indexes.length > 1 ? indexes : single;
    const shards = candidates.every((name) => /-\d{5}-of-\d{5}\.safetensors$/.test(name));
    throw new LoomweightError({
      code: shards ? "MISSING_INDEX" : "AMBIGUOUS_WEIGHTS",
      file: files.location,
      problem: shards
        ? "the folder holds shards of a checkpoint but not their index"
        : "several files could be the model's weights",
      expected: shards ? "model.safetensors.index.json" : "one",
      found: candidates.slice(0, 6).join(", ") + (candidates.length > 6 ? ", …" : ""),
      fix: shards ? "Download the index into the same folder." : "Give the path of the file you mean.",
    });
  }
  for (const name of names) {
    const refusal = refuseByName(name);
    if (refusal !== undefined) throw new LoomweightError({ ...refusal, file: joinLocation(files.location, name) });
  }
  const nested = files.names.find((name) => name.endsWith(".safetensors"));
  throw new LoomweightError({
    code: "NO_WEIGHTS",
    file: files.location,
    problem: files.names.length === 0 ? "the folder is empty" : "the folder holds no weights",
    expected: "model.safetensors or model.safetensors.index.json",
    found: names.length === 0 ? undefined : names.slice(0, 6).join(", ") + (names.length > 6 ? ", …" : ""),
    fix:
      nested === undefined
        ? undefined
        : `There are weights in its folder "${nested.slice(0, nested.lastIndexOf("/"))}": give that path.`,
  });
}

function joinLocation(location: string, name: string): string {
  return location === "" ? name : `${location.replace(/[/\\]$/, "")}/${name}`;
}

/** Opens the weights `name` of a folder: a safetensors file, or an index with its shards. */
export async function openWeights(files: FileSet, name: string): Promise<Checkpoint> {
  const source = await files.open(name);
  if (source === undefined) {
    throw new LoomweightError({
      code: "MISSING_FILE",
      file: joinLocation(files.location, name),
      problem: "no such file, or no regular one",
    });
  }
  if (!name.endsWith(".index.json")) return openSafetensors(source);
  const folder = name.slice(0, name.lastIndexOf("/") + 1);
  return openSharded(source, (shard) => files.open(folder + shard));
}
