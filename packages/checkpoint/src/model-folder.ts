import { LoomweightError, unknownName } from "@loomweight/tensor";
import type { ByteSource, Checkpoint, ModelFolder } from "./checkpoint.ts";
import { companionFiles } from "./companions.ts";
import { chooseWeights, type FileSet, fileSetFromMap, openWeights } from "./file-set.ts";
import { parseJsonObject } from "./json.ts";

const maxTextBytes = 256 * 2 ** 20;
/** Less than for text: the values of JSON take many times the room of their text. */
const maxJsonBytes = 64 * 2 ** 20;

/**
 * Opens the weights among files that a page holds (a file input, a drop): `model.safetensors`, or an index with its
 * shards. Throws as `openSafetensors` and `openSharded`, and `NO_WEIGHTS`, `AMBIGUOUS_WEIGHTS`, `UNSUPPORTED_FORMAT`.
 */
export async function openCheckpointFromFiles(files: ReadonlyMap<string, Blob | Uint8Array>): Promise<Checkpoint> {
  const set = fileSetFromMap(files, "the given files");
  return openWeights(set, chooseWeights(set));
}

/** Opens a model from files that a page holds: weights, config.json and companion files by their names. */
export async function openModelFromFiles(files: ReadonlyMap<string, Blob | Uint8Array>): Promise<ModelFolder> {
  return openModelFromFileSet(fileSetFromMap(files, "the given files"));
}

/**
 * Opens a model from any set of files. `weights` names the file to read them from (default: `chooseWeights`).
 * `config` is config.json parsed; companion files are those of the allow-list (`isCompanionFile`).
 */
export async function openModelFromFileSet(set: FileSet, weights = chooseWeights(set)): Promise<ModelFolder> {
  const checkpoint = await openWeights(set, weights);
  const files = new Map<string, ByteSource>();
  const close = async () => {
    await Promise.all([checkpoint.close(), ...[...files.values()].map((source) => source.close())]);
  };
  const read = async (name: string, most: number): Promise<Uint8Array> => {
    const source = files.get(name);
    if (source === undefined) {
      const { fix } = unknownName({ kind: "file", name, known: files.keys() }).details;
      throw new LoomweightError({
        code: "MISSING_FILE",
        file: set.location,
        problem: `the model has no companion file "${name}"`,
        fix,
      });
    }
    if (source.size > most) {
      throw new LoomweightError({
        code: "FILE_TOO_LARGE",
        file: source.name,
        problem: "too large to be read at once",
        expected: `at most ${most} bytes`,
        found: `${source.size}`,
      });
    }
    return source.read(0, source.size);
  };
  const readJson = async (name: string) =>
    parseJsonObject(await read(name, maxJsonBytes), files.get(name)?.name ?? name, { duplicates: "last" });
  try {
    for (const name of companionFiles(set.names)) {
      const source = await set.open(name);
      if (source !== undefined) files.set(name, source);
    }
    return {
      location: set.location,
      checkpoint,
      config: files.has("config.json") ? await readJson("config.json") : undefined,
      files,
      async readText(name) {
        const bytes = await read(name, maxTextBytes);
        try {
          return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
        } catch (cause) {
          throw new LoomweightError({
            code: "INVALID_TEXT",
            file: files.get(name)?.name,
            problem: "the file is not UTF-8 text",
            cause,
          });
        }
      },
      readJson,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
