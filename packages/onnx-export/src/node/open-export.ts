import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseJsonObject } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { configOfGenai, genaiConfigFile } from "../verify/check-genai.ts";

const mostJsonBytes = 64 * 2 ** 20;

/** The files of an export's folder. */
export interface ExportFiles {
  readonly path: string;
  /** Where the graphs are: "onnx", or "" beside config.json. */
  readonly graphFolder: "onnx" | "";
  /** Names of the .onnx files in it. */
  readonly graphs: readonly string[];
  readonly files: ReadonlySet<string>;
  readonly graphFiles: ReadonlySet<string>;
  /** Empty where there is no config.json; in a folder of onnxruntime-genai what its settings say of the same. */
  readonly config: Readonly<Record<string, unknown>>;
  /** genai_config.json, where there is one. */
  readonly genai?: Readonly<Record<string, unknown>>;
}

/** Lists an export's folder and reads its config.json. Throws `MISSING_FILE`, `INVALID_PATH`, `INVALID_JSON`. */
export async function openExport(path: string): Promise<ExportFiles> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw cause;
    throw new LoomweightError({ code: "MISSING_FILE", file: path, problem: "no such folder" });
  });
  if (!found.isDirectory()) {
    throw new LoomweightError({
      code: "INVALID_PATH",
      file: path,
      problem: "this is a file",
      expected: "an export's folder",
    });
  }
  const files = new Set(await readdir(path));
  const graphFolder = files.has("onnx") ? "onnx" : "";
  const graphFiles = graphFolder === "" ? files : new Set(await readdir(join(path, graphFolder)));
  const graphs = [...graphFiles].filter((name) => name.endsWith(".onnx")).sort();
  if (graphs.length === 0) {
    throw new LoomweightError({
      code: "MISSING_FILE",
      file: path,
      problem: "the folder holds no ONNX file",
      expected: "onnx/model.onnx or others, as loomweight export writes them",
    });
  }
  const read = async (name: string) => {
    if (!files.has(name)) return undefined;
    const file = join(path, name);
    const { size } = await stat(file);
    if (size > mostJsonBytes) {
      throw new LoomweightError({
        code: "FILE_TOO_LARGE",
        file,
        problem: "too large to be read at once",
        expected: `at most ${mostJsonBytes} bytes`,
        found: `${size}`,
      });
    }
    return parseJsonObject(await readFile(file), file);
  };
  const [stated, genai] = [await read("config.json"), await read(genaiConfigFile)];
  const config = stated ?? (genai === undefined ? {} : configOfGenai(genai));
  return { path, graphFolder, graphs, files, graphFiles, config, ...(genai === undefined ? {} : { genai }) };
}
