import { convertAdapter } from "@loomweight/adapters/node";
import type { CommandContext } from "../context.ts";
import { plural } from "../output/format.ts";
import type { ConvertFlags } from "../program.ts";

/** `loomweight convert ADAPTER OUT --to LAYOUT`: PEFT's, kohya's and diffusers' ways of storing an adapter. */
export async function convert(
  { report }: CommandContext,
  options: ConvertFlags,
  adapter: string,
  out: string,
): Promise<void> {
  const { to, base, component, force } = options;
  const converted = await convertAdapter(adapter, out, { to, base, component, force });
  for (const warning of converted.warnings) report.warn(warning);
  report.note(`${out}: ${converted.method} on ${plural(converted.modules, "module")}, ${converted.files.join(", ")}`);
  report.data(converted);
}
