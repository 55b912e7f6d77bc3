import type { ModelFolder } from "@loomweight/checkpoint";
import { openModel, withOutputFolder } from "@loomweight/checkpoint/node";
import { invalidOption, LoomweightError } from "@loomweight/tensor";
import type { KeyLayout } from "../layouts/foreign-keys.ts";
import { foreignFile } from "../layouts/write-foreign.ts";
import type { Adapter } from "../peft/adapter.ts";
import { configFile, weightsFile } from "../peft/read-adapter.ts";
import { writeAdapter } from "../peft/write-adapter.ts";
import { openAdapters } from "./open-adapters.ts";

export interface ConvertAdapterOptions {
  /** `peft`: a folder with adapter_config.json and adapter_model.safetensors; else a folder with one file. */
  readonly to: "peft" | KeyLayout;
  /** The model it adapts: kohya's files need it, since their keys do not hold the modules' paths. */
  readonly base?: string;
  /**
   * Which part of a pipeline, as keys begin: of a file that holds several, the one to take; of a file to be written, how
   * its keys begin (`lora_unet` and `unet` by default).
   */
  readonly component?: string;
  readonly force?: boolean;
}

/** What was converted. */
export interface ConvertResult {
  readonly path: string;
  readonly files: readonly string[];
  readonly method: string;
  readonly modules: number;
  readonly warnings: readonly string[];
}

/** Name of the file that diffusers looks for. */
const foreignName = "pytorch_lora_weights.safetensors";

/**
 * Converts an adapter between PEFT's folders and the files of kohya and diffusers: names and scalings change, factors
 * stay as they are (`foreignFile` tells the exceptions). Throws as `readForeignAdapters` and `foreignFile`,
 * `AMBIGUOUS_ADAPTER` for a file that holds several adapters where one is wanted.
 */
export async function convertAdapter(
  path: string,
  outPath: string,
  options: ConvertAdapterOptions,
): Promise<ConvertResult> {
  if (!["peft", "kohya", "diffusers"].includes(options.to)) {
    throw invalidOption({ option: "to" }, options.to, "peft, kohya or diffusers");
  }
  const opened: { close(): Promise<void> }[] = [];
  try {
    let base: ModelFolder | undefined;
    if (options.base !== undefined) {
      base = await openModel(options.base);
      opened.push(base);
    }
    const { adapters, warnings } = await openAdapters([path], opened, { base: base?.checkpoint });
    const adapter = theOne(adapters, path, options.to === "peft" ? options.component : undefined);
    const files =
      options.to === "peft"
        ? await peftFiles(adapter)
        : [[foreignName, await foreignFile(adapter, { layout: options.to, component: options.component })] as const];
    await withOutputFolder(outPath, { force: options.force }, async (folder) => {
      for (const [name, content] of files) await folder.writeFile(name, content);
    });
    return {
      path: outPath,
      files: files.map(([name]) => name),
      method: adapter.method.name,
      modules: adapter.modules.size,
      warnings: [...warnings, ...adapter.warnings],
    };
  } finally {
    await Promise.allSettled(opened.map((each) => each.close()));
  }
}

async function peftFiles(adapter: Adapter): Promise<(readonly [string, Uint8Array | string])[]> {
  const { config, weights } = await writeAdapter(adapter);
  return [
    [configFile, config],
    [weightsFile, weights],
  ];
}

function theOne(adapters: readonly Adapter[], path: string, component: string | undefined): Adapter {
  const wanted =
    component === undefined ? adapters : adapters.filter(({ location }) => location.endsWith(` (${component})`));
  if (wanted.length === 1) return wanted[0];
  throw new LoomweightError({
    code: "AMBIGUOUS_ADAPTER",
    problem: `the file holds ${adapters.length} adapters, and ${wanted.length === 0 ? "none" : `${wanted.length}`} of them ${wanted.length === 1 ? "is" : "are"} meant`,
    file: path,
    option: "component",
    found: adapters
      .map(
        ({ location, method }) => `${location.slice(location.lastIndexOf("(")).replace(/[()]/g, "")}: ${method.name}`,
      )
      .join(", "),
    fix: "Name the component, or give the model of that part as the base.",
  });
}
