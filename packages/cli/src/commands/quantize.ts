import { checkDTypes } from "@loomweight/onnx-export";
import { quantizeFile } from "@loomweight/onnx-export/node";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatDuration, formatNumber, plural } from "../output/format.ts";
import type { QuantizeFlags } from "../program.ts";
import { quantizeSettings } from "../quantize-options.ts";

/** `loomweight quantize IN.onnx OUT.onnx`: the same quantizers for any ONNX file. */
export async function quantize(
  { report, signal }: CommandContext,
  options: QuantizeFlags,
  input: string,
  output: string,
): Promise<void> {
  const began = performance.now();
  const [dtype] = checkDTypes([options.dtype]);
  const { bytes, external, weights } = await quantizeFile(input, output, dtype, {
    force: options.force,
    ...quantizeSettings(options),
    externalData: options.externalData ?? "auto",
    maxExternalBytes: options.externalSize,
    workers: options.workers,
    signal,
    onProgress: (done, total) => report.progress({ label: "quantizing", done, total }),
  });
  const milliseconds = performance.now() - began;
  report.settle();
  const worst = weights.reduce<(typeof weights)[number] | undefined>(
    (a, b) => (a === undefined || b.sqnr < a.sqnr ? b : a),
    undefined,
  );
  const files = external.length === 0 ? "" : ` (with ${plural(external.length, "file")} of external data)`;
  report.note(
    `${output}: ${plural(weights.length, "weight")} quantized to ${dtype}, ${formatBytes(bytes)}${files} in ${formatDuration(milliseconds)}`,
  );
  if (worst !== undefined) {
    report.note(`least exact: ${worst.name}, ${worst.form}, ${formatNumber(worst.sqnr)} dB signal to noise`);
  }
  report.data({ out: output, dtype, bytes, external, weights, milliseconds: Math.round(milliseconds) });
}
