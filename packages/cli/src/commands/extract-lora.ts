import { extractLoraFolder } from "@loomweight/merge/node";
import type { CommandContext } from "../context.ts";
import { formatDuration, plural } from "../output/format.ts";
import type { ExtractLoraFlags } from "../program.ts";
import { describeRanks } from "./combine.ts";

/** `loomweight extract-lora BASE MODEL OUT`: the difference of two models as a PEFT adapter. */
export async function extract(
  { report, signal }: CommandContext,
  options: ExtractLoraFlags,
  base: string,
  model: string,
  out: string,
): Promise<void> {
  const began = performance.now();
  const { layers, whole, unchanged } = await extractLoraFolder(base, model, out, {
    ...options,
    signal,
    onProgress: ({ done, total }) => report.progress({ label: "extracting", done, total }),
  });
  const milliseconds = performance.now() - began;
  const worst = [...layers].sort((a, b) => b.relativeError - a.relativeError)[0];
  const mean = layers.reduce((sum, { relativeError }) => sum + relativeError, 0) / layers.length;
  report.note(
    `${out}: ${plural(layers.length, "layer")} of rank ${describeRanks(layers.map(({ rank }) => rank))} in ${formatDuration(milliseconds)}; ${plural(unchanged, "tensor")} equal`,
  );
  if (whole.length > 0) report.note(`kept whole: ${whole.slice(0, 5).join(", ")}${whole.length > 5 ? ", …" : ""}`);
  report.note(
    `left out: ${(100 * mean).toPrecision(3)} % of a layer's change on average, at most ${(100 * worst.relativeError).toPrecision(3)} % (${worst.path})`,
  );
  report.data({ path: out, layers, whole, unchanged, milliseconds: Math.round(milliseconds) });
}
