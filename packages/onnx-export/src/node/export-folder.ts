import { openModel, withOutputFolder } from "@loomweight/checkpoint/node";
import type { ExportReport } from "../report.ts";
import { type ExportModelOptions, exportModel } from "./export-model.ts";

export interface ExportFolderOptions extends ExportModelOptions {
  /** Replace an existing output; default false. */
  readonly force?: boolean;
  /** Looked at before each model file is written or verified. */
  readonly signal?: AbortSignal;
}

/**
 * `exportModel` from path to path: opens the model at `modelPath` and writes the folder `outPath`, which appears only
 * when complete. Throws as `openModel`, `createOutputFolder` and `exportModel` do, and the signal's reason.
 */
export async function exportFolder(
  modelPath: string,
  outPath: string,
  options: ExportFolderOptions = {},
): Promise<ExportReport> {
  const { force, signal, onProgress, ...rest } = options;
  const folder = await openModel(modelPath);
  try {
    return await withOutputFolder(outPath, { force }, async (output) => {
      const report = await exportModel(folder, output, {
        ...rest,
        onProgress(event) {
          signal?.throwIfAborted();
          onProgress?.(event);
        },
      });
      signal?.throwIfAborted();
      return report;
    });
  } finally {
    await folder.close();
  }
}
