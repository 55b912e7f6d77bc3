import { access, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { parseJson } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import type { GraphName } from "@loomweight/models";
import { LoomweightError, unknownName } from "@loomweight/tensor";
import { adapterFile, writeOnnxAdapter } from "../slots/onnx-adapter.ts";
import { slotValues } from "../slots/slot-values.ts";
import { type AdapterSlots, parseAdapterSlots, slotsFile } from "../slots/slots.ts";

/** The slots of an exported folder. Throws `NO_ADAPTER_SLOT` where it has none, `INVALID_SLOTS`. */
export async function readAdapterSlots(folder: string): Promise<AdapterSlots> {
  const file = join(folder, slotsFile);
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new LoomweightError({
      code: "NO_ADAPTER_SLOT",
      problem: "the export has no adapter slots",
      file: folder,
      expected: `a file ${slotsFile}`,
      fix: "Export the model again with adapter slots: loomweight export MODEL OUT --adapter-slots.",
      cause,
    });
  });
  return parseAdapterSlots(parseJson(bytes, file), file);
}

export interface WriteAdapterFileOptions {
  /** Folder of the model that the export was made from: DoRA needs the norms of its weights. */
  readonly base?: string;
  /** The graph whose inputs are written; may be left out where only one graph has slots. */
  readonly graph?: string;
  /** Replace an existing file; default false. */
  readonly force?: boolean;
}

/** What was written. Plain data. */
export interface WrittenAdapterFile {
  readonly graph: GraphName;
  readonly bytes: number;
  /** Inputs of the graph that the file holds, and slots among them that the adapter fills. */
  readonly parameters: number;
  readonly modules: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Writes the PEFT adapter in the folder `adapter` as the .onnx_adapter file of an export with slots, which onnxruntime
 * itself loads; it appears under its name only when it is complete. Throws `NO_ADAPTER_SLOT`, `OUTPUT_EXISTS`,
 * `INVALID_OPTION` for a graph without slots, and what `slotValues` and `writeOnnxAdapter` throw.
 */
export async function writeAdapterFile(
  exported: string,
  adapter: string,
  output: string,
  { base, graph, force = false }: WriteAdapterFileOptions = {},
): Promise<WrittenAdapterFile> {
  const slots = await readAdapterSlots(exported);
  const chosen = chooseGraph(slots, graph);
  if (
    !force &&
    (await access(output).then(
      () => true,
      () => false,
    ))
  ) {
    throw new LoomweightError({
      code: "OUTPUT_EXISTS",
      problem: "the output exists already",
      file: output,
      fix: "Give another name, or `force` (--force) to replace it.",
    });
  }
  const opened = await openAdapterFolder(adapter);
  try {
    const model = base === undefined ? undefined : await openModel(base);
    try {
      const values = await slotValues(slots, opened, { base: model });
      const file = adapterFile(slots, values, chosen);
      const bytes = writeOnnxAdapter(file);
      const partial = `${output}.partial`;
      await writeFile(partial, bytes);
      await rename(partial, output).catch(async (cause: unknown) => {
        await rm(partial, { force: true });
        throw cause;
      });
      return {
        graph: chosen,
        bytes: bytes.length,
        parameters: file.parameters.size,
        modules: [...values.modules.keys()].sort(),
        warnings: values.warnings,
      };
    } finally {
      await model?.close();
    }
  } finally {
    await opened.checkpoint.close();
  }
}

function chooseGraph(slots: AdapterSlots, wanted: string | undefined): GraphName {
  const graphs = [...new Set(Object.values(slots.modules).flatMap((slot) => slot.graphs))];
  if (wanted === undefined && graphs.length === 1) return graphs[0];
  const found = graphs.find((graph) => graph === wanted);
  if (found !== undefined) return found;
  if (wanted !== undefined) {
    throw unknownName({ kind: "graph", name: wanted, known: graphs, code: "INVALID_OPTION", option: "graph" });
  }
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "several graphs of the export have slots, and a file is for one",
    option: "graph",
    expected: graphs.join(" or "),
  });
}
