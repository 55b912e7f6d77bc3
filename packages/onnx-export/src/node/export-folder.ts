import { openModel, withOutputFolder } from "@loomweight/checkpoint/node";
import type { ExportReport } from "../report.ts";
import { type ExportModelOptions, exportModel } from "./export-model.ts";

export interface ExportFolderOptions extends ExportModelOptions {
  /** Replace an existing output; default false. */
  readonly force?: boolean;
}

/**
 * Exports the model folder at `path` to a new folder at `out`, which appears only when it is complete. Throws what
 * `openModel`, `createOutputFolder` and `exportModel` throw.
 */
export async function exportFolder(
  path: string,
  out: string,
  options: ExportFolderOptions = {},
): Promise<ExportReport> {
  const { force = false, ...rest } = options;
  const folder = await openModel(path);
  try {
    return await withOutputFolder(out, { force }, (output) => exportModel(folder, output, rest, path));
  } finally {
    await folder.close();
  }
}
