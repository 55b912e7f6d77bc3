import { join } from "node:path";
import type { Checkpoint, SafetensorsPlan } from "@loomweight/checkpoint";
import { digest, type JournalFacts, sourceFacts } from "@loomweight/checkpoint/node";
import type { FoldPlan } from "../fold/plan.ts";
import type { Adapter } from "../peft/adapter.ts";
import { ownVersion } from "./own-version.ts";

/** Everything that decides the bytes of a folded or unfolded model, by name. */
export async function foldFacts(
  command: "fold" | "unfold",
  run: {
    readonly plan: Pick<FoldPlan, "tensors" | "config">;
    readonly layout: SafetensorsPlan;
    readonly models: readonly Checkpoint[];
    readonly adapters: readonly Adapter[];
    readonly adapterPaths: readonly string[];
    readonly allowNonFinite?: boolean;
  },
): Promise<JournalFacts> {
  const { plan, layout, models, adapters, adapterPaths, allowNonFinite = false } = run;
  const tensors = [...plan.tensors.values()].map(({ name, dtype, shape, source, operations }) => [
    name,
    dtype,
    shape,
    source.info.name,
    operations.map(({ kind, step }) => [kind, step.module.path, step.layer.kind, step.module.options, step.rows]),
  ]);
  const sources = await sourceFacts(
    models.map((checkpoint) => ({ files: filesOf(checkpoint), checkpoint })),
    adapters.map(({ checkpoint }, index) => ({
      files: [...filesOf(checkpoint), join(adapterPaths[index], "adapter_config.json")],
      checkpoint,
    })),
  );
  return {
    tool: `${command} (adapters ${ownVersion()})`,
    methods: adapters.map(({ method }) => `${method.name} ${digest(String(method.weight))}`).join(", "),
    plan: digest([tensors, plan.config]),
    "weight files": digest([layout.files.map(({ name, size }) => [name, size]), [...layout.tensors]]),
    "allow non-finite": String(allowNonFinite),
    ...sources,
  };
}

function filesOf({ tensors }: Checkpoint): string[] {
  return [...new Set([...tensors.values()].map(({ file }) => file))];
}
