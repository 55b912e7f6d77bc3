import { combineAdapterFolders } from "@loomweight/merge/node";
import type { CommandContext } from "../context.ts";
import { formatDuration, plural } from "../output/format.ts";
import type { CombineFlags } from "../program.ts";

/** `loomweight combine ADAPTER… --out OUT`: several LoRA adapters as one, or one with another rank. */
export async function combine(
  { report }: CommandContext,
  { out, ...options }: CombineFlags,
  adapters: readonly string[],
): Promise<void> {
  const began = performance.now();
  const { ranks, relativeErrors, warnings } = await combineAdapterFolders(adapters, out, options);
  const milliseconds = performance.now() - began;
  for (const warning of warnings) report.warn(warning);
  const own = [...ranks.values()];
  const worst = [...relativeErrors].sort(([, a], [, b]) => b - a)[0];
  report.note(
    `${out}: ${plural(ranks.size, "layer")} of rank ${describeRanks(own)} from ${plural(adapters.length, "adapter")} in ${formatDuration(milliseconds)}`,
  );
  if (worst !== undefined) {
    report.note(`left out of the sum: at most ${(100 * worst[1]).toPrecision(3)} % of a layer's norm (${worst[0]})`);
  }
  report.data({
    path: out,
    combination: options.combination,
    layers: [...ranks].map(([path, rank]) => ({ path, rank, relativeError: relativeErrors.get(path) })),
    warnings,
    milliseconds: Math.round(milliseconds),
  });
}

/** "16", or "2 to 16". */
export function describeRanks(ranks: readonly number[]): string {
  const [least, most] = [Math.min(...ranks), Math.max(...ranks)];
  return least === most ? String(most) : `${least} to ${most}`;
}
