import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseJsonObject } from "@loomweight/checkpoint";

/** The adapter_config.json of a folder as it stands; undefined where there is none or `path` is a file. */
export async function readAdapterConfig(path: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  const file = join(path, "adapter_config.json");
  const found = await stat(file).catch(() => undefined);
  if (found === undefined || !found.isFile()) return undefined;
  return parseJsonObject(await readFile(file), file);
}
