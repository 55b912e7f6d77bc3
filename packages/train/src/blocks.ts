import { findLayers } from "@loomweight/adapters/attach";
import { type ImportedModel, indexGraph, recompute, type Value, type ValueSite } from "@loomweight/graph";

/**
 * Gradient checkpointing for a graph that is a chain of numbered blocks (layers.0, layers.1, … in the names of its
 * nodes): of each block only its input is kept for the backward pass. Hand `change()` to `instantiate`, a fresh one each
 * time. `blocks` counts those that are recomputed: a block must be given one value by the one before it, and give one on.
 */
export function blockCheckpoints(imported: ImportedModel): {
  readonly blocks: number;
  readonly change: () => (site: ValueSite) => Value | undefined;
} {
  const between = blockValues(imported);
  const before = new Map(between.slice(1).map((name, index) => [name, between[index]]));
  return {
    blocks: before.size,
    change: () => {
      const seen = new Map<string, Value>();
      return ({ name, value }) => {
        if (!between.includes(name)) return undefined;
        const input = seen.get(before.get(name) ?? "");
        const changed = input === undefined ? value : recompute(value, [input]);
        seen.set(name, changed);
        return changed;
      };
    },
  };
}

/** The one value before the first block, between two blocks, and after the last; as far as there is one. */
function blockValues(imported: ImportedModel): string[] {
  const { graph } = imported.model;
  const index = indexGraph(graph);
  const hidden = hiddenValues(imported);
  const blocks = (name: string) => new Set(index.consumers(name).map((user) => blockOf(user.name)));
  const handed = new Map<number, Set<string>>();
  const note = (place: number, name: string) => handed.set(place, (handed.get(place) ?? new Set()).add(name));
  let last = -1;
  for (const node of graph.nodes) last = Math.max(last, blockOf(node.name) ?? -1);
  for (const node of graph.nodes) {
    const own = blockOf(node.name);
    for (const name of node.outputs) {
      if (!hidden.has(name)) continue;
      const users = blocks(name);
      if (own === undefined) {
        if (users.has(0) && users.size === 1) note(0, name);
      } else if (users.has(own + 1) || (own === last && users.has(undefined))) note(own + 1, name);
    }
  }
  const found: string[] = [];
  for (let place = 0; place <= last + 1; place++) {
    const names = [...(handed.get(place) ?? [])];
    if (names.length === 1) found.push(names[0]);
    else if (found.length > 0) break;
  }
  return found;
}

/** Values that some layer had a part in: not masks and rotations. */
export function hiddenValues(imported: ImportedModel): Set<string> {
  const products = new Set(findLayers(imported).map(({ product }) => product));
  const hidden = new Set<string>();
  for (const { inputs, outputs } of imported.model.graph.nodes) {
    const touched = inputs.some((name) => hidden.has(name)) || outputs.some((name) => products.has(name));
    if (touched) for (const name of outputs) hidden.add(name);
  }
  return hidden;
}

/** 3 of "/model/layers.3/mlp/MatMul". */
function blockOf(name: string): number | undefined {
  const found = /(?:^|[/.])[A-Za-z_]+[./](\d{1,6})(?=[/.])/.exec(name);
  return found === null ? undefined : Number(found[1]);
}
