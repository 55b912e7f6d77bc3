import { basename, resolve } from "node:path";
import { withOutputFolder } from "@loomweight/checkpoint/node";
import { type ExtractedLora, type ExtractLoraOptions, extractLora } from "../adapters/extract-lora.ts";
import { openReference } from "./open-reference.ts";

export interface ExtractLoraFolderOptions extends Omit<ExtractLoraOptions, "modelType"> {
  /** Replace an existing output; default false. */
  readonly force?: boolean;
}

/**
 * `extractLora` between two model folders, written as a PEFT folder, which appears complete or not at all. `tuned` may
 * be `model+adapter`, as in recipes: an adapter of any type then becomes a LoRA, from weights that were not rounded
 * after folding. Throws as `extractLora`, opening and `createOutputFolder`.
 */
export async function extractLoraFolder(
  base: string,
  tuned: string,
  out: string,
  { force, ...options }: ExtractLoraFolderOptions = {},
): Promise<ExtractedLora> {
  const [path, adapter] = tuned.split("+");
  const first = await openReference({ path: base, key: base, place: {} });
  try {
    const second = await openReference({ path, adapter, key: tuned, place: {} });
    try {
      const found = await extractLora(first.checkpoint, second.checkpoint, {
        ...options,
        modelType: first.folder.config?.model_type,
        config: { base_model_name_or_path: base, ...options.config },
      });
      await withOutputFolder(resolve(out), { force }, async (folder) => {
        await folder.writeFile("adapter_config.json", found.files.config);
        await folder.writeFile("adapter_model.safetensors", found.files.weights);
        await folder.writeFile("README.md", card(base, tuned, found));
      });
      return found;
    } finally {
      await second.close();
    }
  } finally {
    await first.close();
  }
}

function card(base: string, tuned: string, { layers }: ExtractedLora): string {
  const rows = layers.map((each) => `| ${each.path} | ${each.rank} | ${each.relativeError.toExponential(2)} |`);
  return [
    "---",
    "library_name: peft",
    `base_model: ${JSON.stringify(basename(base))}`,
    "---",
    "",
    "# Extracted adapter",
    "",
    `The difference between ${basename(tuned)} and ${basename(base)} as a LoRA, extracted by loomweight.`,
    "",
    "| layer | rank | relative error |",
    "| --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}
