import type { ModelFolder } from "@loomweight/checkpoint";
import { detectTask, familyOf, type Task } from "@loomweight/models";
import { LoomweightError } from "@loomweight/tensor";
import { planExport } from "../plan.ts";

/**
 * The task whose graphs have the outputs of an export, so that a model is exported for comparison as the export was:
 * what config.json names first, then the family's others. Nothing is read but headers. Throws `UNEXPECTED_OUTPUT`.
 *
 * @param exported graph → names of its outputs
 */
export async function matchingTask(
  folder: ModelFolder,
  exported: ReadonlyMap<string, readonly string[]>,
): Promise<Task> {
  const known = familyOf(folder).tasks;
  const named = attempt(() => detectTask(folder));
  const candidates = [...new Set([...(named === undefined ? [] : [named]), ...known])];
  const wanted = [...exported].map(([graph, outputs]) => `${graph}: ${[...outputs].sort()}`).sort();
  for (const task of candidates) {
    const plan = await planExport(folder, { task, dtypes: ["fp32"] }).catch((cause: unknown) => {
      if (cause instanceof LoomweightError) return undefined; // weights for this task are not there
      throw cause;
    });
    const made = plan?.graphs.map(
      ({ graph, model }) => `${graph}: ${model.graph.outputs.map(({ name }) => name).sort()}`,
    );
    if (made !== undefined && `${made.sort()}` === `${wanted}`) return task;
  }
  throw new LoomweightError({
    code: "UNEXPECTED_OUTPUT",
    file: folder.location,
    problem: "for none of its tasks has this model the outputs of the export",
    expected: wanted.map((each) => (each.length > 100 ? `${each.slice(0, 100)}…` : each)).join("; "),
    found: `${candidates.join(", ")}`,
    fix: "Is it the model that was exported? The export's task can also be named.",
  });
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof LoomweightError) return undefined;
    throw cause;
  }
}
