import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { openModel } from "@loomweight/checkpoint/node";
import type { Session } from "@loomweight/graph/node";
import { createAdapterSession, readOnnxAdapter, slotsFile } from "@loomweight/onnx-export";
import { readAdapterSlots } from "@loomweight/onnx-export/node";
import { LoomweightError } from "@loomweight/tensor";

export interface WithAdapterOptions {
  /** A PEFT folder or an .onnx_adapter file. */
  readonly adapter?: string;
  /** The model's folder, for DoRA. */
  readonly adapterBase?: string;
}

/**
 * The session of an export with an adapter in its slots, with none where none is asked for; a session without slots as
 * it is. Throws `NO_ADAPTER_SLOT`, `MISSING_FILE` and what loading the adapter throws.
 */
export async function withAdapter(
  session: Session,
  folder: string,
  { adapter, adapterBase }: WithAdapterOptions,
): Promise<{ session: Session; warnings: readonly string[] }> {
  const slotted = await stat(join(folder, slotsFile)).then(
    () => true,
    () => false,
  );
  if (!slotted && adapter === undefined) return { session, warnings: [] };
  const adapted = createAdapterSession(session, await readAdapterSlots(folder));
  if (adapter === undefined) return { session: adapted, warnings: [] };
  if (adapter.endsWith(".onnx_adapter")) {
    const content = await readFile(adapter).catch((cause: unknown) => {
      throw new LoomweightError({ code: "MISSING_FILE", problem: "no such file", file: adapter, cause });
    });
    await adapted.load("adapter", readOnnxAdapter(content, adapter));
    adapted.use("adapter");
    return { session: adapted, warnings: [] };
  }
  const peft = await openAdapterFolder(adapter);
  try {
    const base = adapterBase === undefined ? undefined : await openModel(adapterBase);
    try {
      const warnings = await adapted.load("adapter", peft, { base });
      adapted.use("adapter");
      return { session: adapted, warnings };
    } finally {
      await base?.close();
    }
  } finally {
    await peft.checkpoint.close();
  }
}
