import { basename, resolve } from "node:path";
import type { Adapter } from "@loomweight/adapters";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { withOutputFolder } from "@loomweight/checkpoint/node";
import { invalidOption } from "@loomweight/tensor";
import { type CombinedAdapter, combineAdapters } from "../adapters/combine-adapters.ts";
import type { CombineOptions } from "../adapters/combine-low-rank.ts";

export interface CombineAdapterFoldersOptions extends CombineOptions {
  /** One for each adapter, negative ones allowed; default 1 each. */
  readonly weights?: readonly number[];
  /** Replace an existing output; default false. */
  readonly force?: boolean;
}

/**
 * `combineAdapters` of PEFT folders on disk, written as a PEFT folder, which appears complete or not at all. One adapter
 * with a rank or an energy is an adapter of another rank. Throws as `combineAdapters`, opening and `createOutputFolder`.
 */
export async function combineAdapterFolders(
  folders: readonly string[],
  out: string,
  { weights, force, ...options }: CombineAdapterFoldersOptions = {},
): Promise<CombinedAdapter> {
  if (weights !== undefined && weights.length !== folders.length) {
    throw invalidOption({ option: "weights" }, weights.join(", "), `${folders.length} numbers, one for each adapter`);
  }
  const opened: Adapter[] = [];
  try {
    for (const folder of folders) opened.push(await openAdapterFolder(folder));
    const own = weights ?? opened.map(() => 1);
    const combined = await combineAdapters(
      opened.map((adapter, index) => ({ adapter, weight: own[index] })),
      options,
    );
    const rows = folders.map((folder, index) => `| ${basename(folder)} | ${own[index]} |`);
    const how = options.combination ?? "cat";
    await withOutputFolder(resolve(out), { force }, async (folder) => {
      await folder.writeFile("adapter_config.json", combined.files.config);
      await folder.writeFile("adapter_model.safetensors", combined.files.weights);
      await folder.writeFile(
        "README.md",
        `---\nlibrary_name: peft\n---\n\n# Combined adapter\n\nLoRA adapters combined by loomweight (\`${how}\`).\n\n| adapter | weight |\n| --- | --- |\n${rows.join("\n")}\n`,
      );
    });
    return combined;
  } finally {
    await Promise.allSettled(opened.map(({ checkpoint }) => checkpoint.close()));
  }
}
