import { createRequire } from "node:module";
import type { SafetensorsPlan } from "@loomweight/checkpoint";
import { digest, type JournalFacts } from "@loomweight/checkpoint/node";
import type { AnyMergeMethod } from "../define.ts";
import { mergeMethods } from "../method-list.ts";
import type { OpenMerge } from "./open-merge.ts";

/** Everything that decides the bytes of a merge, by name: a run is continued only by one with the same facts. */
export function runFacts(
  merge: OpenMerge,
  run: {
    readonly recipe: string | object;
    readonly layout: SafetensorsPlan;
    readonly tool: string;
    readonly seed?: number;
    readonly allowNonFinite?: boolean;
  },
): JournalFacts {
  const { recipe, layout, tool, seed = 0, allowNonFinite = false } = run;
  return {
    tool: `${tool} (merge ${packageVersion()})`,
    recipe: digest(recipe),
    methods: merge.methods.map(methodFact).join(", "),
    plan: planDigest(merge),
    "weight files": digest([layout.files.map(({ name, size }) => [name, size]), [...layout.tensors]]),
    seed: String(seed),
    "allow non-finite": String(allowNonFinite),
    ...merge.sources,
  };
}

/** A method of this package is the same in every run of one version; one of your own is told by its text. */
function methodFact(method: AnyMergeMethod): string {
  return mergeMethods.includes(method) ? method.name : `${method.name} ${digest(String(method.merge))}`;
}

/** A digest of all that a plan says about the output. */
export function planDigest({ plan: { warnings: _, ...plan } }: Pick<OpenMerge, "plan">): string {
  return digest(plan);
}

function packageVersion(): string {
  const manifest = createRequire(import.meta.url)("@loomweight/merge/package.json") as { version: string };
  return manifest.version;
}
