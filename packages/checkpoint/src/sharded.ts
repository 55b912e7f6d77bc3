import { LoomweightError } from "@loomweight/tensor";
import type { ByteSource, Checkpoint, TensorInfo } from "./checkpoint.ts";
import { refuseByName } from "./file-kind.ts";
import { checkPlainRelativePath, compareUtf8 } from "./file-names.ts";
import { type JsonValue, parseJsonObject } from "./json.ts";
import { lazyCheckpoint, unknownTensor } from "./lazy-checkpoint.ts";
import { readSafetensorsHeader } from "./safetensors.ts";

const maxIndexBytes = 100_000_000;
const maxShards = 10_000;
const openAtOnce = 8;

/** Opens a file that an index names, relative to the index's folder; undefined when there is none. */
export type OpenShard = (name: string) => Promise<ByteSource | undefined>;

/**
 * Opens a checkpoint of several safetensors files from its `model.safetensors.index.json`.
 *
 * `weight_map` names stay inside the folder; every shard must exist and hold the tensors that the index places in it.
 * A tensor that a shard holds but the index does not mention is there too (transformers loads it), unless two shards
 * hold it. The index's other fields are not used. Tensors come in the order of the shards' names, then of their data.
 * The checkpoint owns the shards; `index` is closed once it is read.
 * Throws `INVALID_INDEX`, `INVALID_JSON`, `DUPLICATE_KEY`, `UNSAFE_NAME`, `MISSING_SHARD`, `MISSING_TENSOR`,
 * `DUPLICATE_TENSOR`, and what a shard's header gives.
 */
export async function openSharded(index: ByteSource, openShard: OpenShard): Promise<Checkpoint> {
  const weightMap = await readIndex(index).finally(() => index.close());
  const names = [...new Set(weightMap.values())].sort(compareUtf8);
  if (names.length > maxShards) {
    throw invalidIndex(index.name, `at most ${maxShards} files`, `${names.length}`);
  }
  for (const name of names) {
    checkPlainRelativePath(name, index.name, "a shard's name in weight_map");
    const refusal = refuseByName(name);
    if (refusal !== undefined) throw new LoomweightError(refusal);
  }
  const opened: ByteSource[] = [];
  try {
    const shards = await mapSome(names, openAtOnce, async (name) => {
      const source = await openShard(name);
      if (source === undefined) throw missingShard(index.name, name, names.length);
      opened.push(source);
      return { name, source, header: await readSafetensorsHeader(source) };
    });
    const sources = new Map(shards.map(({ source }) => [source.name, source]));
    if (sources.size !== shards.length) throw invalidIndex(index.name, "files of different names", "two of one name");
    const tensors = new Map<string, TensorInfo>();
    for (const { name, header, source } of shards) {
      for (const info of header.tensors.values()) {
        const home = weightMap.get(info.name);
        if (home !== undefined && home !== name) continue; // the index decides between two copies
        const other = tensors.get(info.name);
        if (other !== undefined) {
          throw new LoomweightError({
            code: "DUPLICATE_TENSOR",
            file: source.name,
            tensor: info.name,
            problem: `the tensor also lies in ${other.file}, and the index mentions neither`,
            fix: `Add it to the weight_map of ${index.name}.`,
          });
        }
        tensors.set(info.name, info);
      }
    }
    for (const [tensor, name] of weightMap) {
      if (tensors.has(tensor)) continue;
      const shard = shards.find((each) => each.name === name)!;
      throw new LoomweightError({
        code: "MISSING_TENSOR",
        file: shard.source.name,
        tensor: tensor.slice(0, 200),
        problem: `${index.name} places the tensor in this file, which does not hold it`,
        fix: unknownTensor(tensor, shard.source.name, shard.header.tensors).details.fix,
      });
    }
    return lazyCheckpoint({
      location: index.name,
      tensors,
      metadata: shards[0].header.metadata,
      sources,
    });
  } catch (error) {
    await Promise.all(opened.map((source) => source.close()));
    throw error;
  }
}

async function readIndex(index: ByteSource): Promise<ReadonlyMap<string, string>> {
  if (index.size > maxIndexBytes) throw invalidIndex(index.name, `at most ${maxIndexBytes} bytes`, `${index.size}`);
  const { weight_map: weightMap } = parseJsonObject(await index.read(0, index.size), index.name);
  if (weightMap === undefined || weightMap === null || typeof weightMap !== "object" || Array.isArray(weightMap)) {
    throw invalidIndex(index.name, 'an object "weight_map"', weightMap === undefined ? "none" : kindOf(weightMap));
  }
  const entries = Object.entries(weightMap);
  if (entries.length === 0) throw invalidIndex(index.name, "a weight_map with tensors", "an empty one");
  return new Map(
    entries.map(([tensor, file]) => {
      if (typeof file !== "string") {
        throw invalidIndex(index.name, `a file name for "${tensor.slice(0, 200)}"`, kindOf(file));
      }
      return [tensor, file];
    }),
  );
}

function kindOf(value: JsonValue): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : `a value of type ${typeof value}`;
}

function invalidIndex(file: string, expected: string, found: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_INDEX",
    file,
    problem: "invalid index of a sharded checkpoint",
    expected,
    found,
  });
}

function missingShard(index: string, name: string, count: number): LoomweightError {
  return new LoomweightError({
    code: "MISSING_SHARD",
    file: index,
    problem: `the index names "${name}", which is not there`,
    expected: `${count} ${count === 1 ? "file" : "files"}`,
    fix: "Download the missing file into the same folder.",
  });
}

/** `Promise.all` over `items`, `most` of them at a time; after a failure none is started, and all have settled. */
async function mapSome<T, R>(items: readonly T[], most: number, run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let failed = false;
  const settled = await Promise.allSettled(
    Array.from({ length: Math.min(most, items.length) }, async () => {
      while (next < items.length && !failed) {
        const at = next++;
        try {
          results[at] = await run(items[at]);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    }),
  );
  for (const each of settled) if (each.status === "rejected") throw each.reason;
  return results;
}
