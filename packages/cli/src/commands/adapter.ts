import { writeAdapterFile } from "@loomweight/onnx-export/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, plural } from "../output/format.ts";
import type { AdapterFlags } from "../program.ts";

/** `loomweight adapter EXPORT ADAPTER OUT.onnx_adapter`: a PEFT adapter as the file that onnxruntime loads. */
export async function adapter(
  { report }: CommandContext,
  options: AdapterFlags,
  exported: string,
  folder: string,
  out: string,
): Promise<void> {
  const written = await writeAdapterFile(exported, folder, out, options);
  for (const warning of written.warnings) report.warn(warning);
  report.note(
    `${out}: ${formatBytes(written.bytes)}, ${plural(written.modules.length, "layer")} adapted, ` +
      `${plural(written.parameters, "input")} of the graph ${written.graph}`,
  );
  report.data({ out, ...written });
}
