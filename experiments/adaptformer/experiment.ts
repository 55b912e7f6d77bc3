import { adaptFormer, type BlockMethod } from "@loomweight/adapters";
import { createRuntime } from "@loomweight/graph/node";
import { type Scale, turnedTask, withAdapter, withoutAdapter } from "../shared/adapted-vit.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

const variants: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
  ["parallel, r = 1", { bottleneck: 1, scale: 1 }],
  ["parallel, r = 8", { bottleneck: 8, scale: 1 }],
  ["parallel, r = 8, s = 0.1", { bottleneck: 8, scale: 0.1 }],
  ["sequential, r = 8", { bottleneck: 8, scale: 1, placement: "sequential" }],
  ["parallel, r = 32", { bottleneck: 32, scale: 1 }],
];

/**
 * A tiny ViT that knows upright digits learns digits turned by 60°, with its head and AdaptFormer's branches. `only`: a
 * choice of the variants.
 */
export async function run(seeds: readonly number[], scale: Scale, only?: readonly string[]): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    const task = await turnedTask(runtime, seed, scale);
    const head = (name: string) => name.startsWith("head.");
    found.add("upright digits, before", 0, { accuracy: task.upright });
    found.add("no adaptation", 0, { accuracy: task.frozen });
    found.add("head only", 0, { accuracy: await withoutAdapter(task, head, 1e-2) });
    for (const [name, options] of variants) {
      if (only !== undefined && !only.includes(name)) continue;
      const { accuracy, trained } = await withAdapter(task, adaptFormer as unknown as BlockMethod, options, ".mlp");
      found.add(name, trained, { accuracy });
    }
    if (only === undefined)
      found.add("full fine-tuning", 27_616, { accuracy: await withoutAdapter(task, () => true, 3e-3) });
  }
  await runtime.close();
  const rows = found.rows();
  const at = (name: string) => meanOf(rows, name);
  const claims = [
    claim(
      "more bottleneck, more accuracy: head only < r = 1 < r = 8",
      at("head only") < at("parallel, r = 1") && at("parallel, r = 1") < at("parallel, r = 8"),
      {
        "head only": at("head only"),
        "r = 1": at("parallel, r = 1"),
        "r = 8": at("parallel, r = 8"),
      },
    ),
  ];
  if (only === undefined) {
    claims.push(
      claim("r = 8 < r = 32", at("parallel, r = 8") < at("parallel, r = 32"), {
        "r = 8": at("parallel, r = 8"),
        "r = 32": at("parallel, r = 32"),
      }),
      claim("parallel is at least sequential at r = 8", at("parallel, r = 8") >= at("sequential, r = 8"), {
        parallel: at("parallel, r = 8"),
        sequential: at("sequential, r = 8"),
      }),
    );
  }
  return { title: "Digits turned by 60°: test accuracy by method", seeds, rows, claims };
}
