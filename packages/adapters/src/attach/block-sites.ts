import { type GraphIndex, type ImportedModel, indexGraph, type OnnxNode } from "@loomweight/graph";
import { closestNames, LoomweightError } from "@loomweight/tensor";
import type { BlockPosition } from "../define-block.ts";
import { findLayers } from "./layers.ts";

/** A module of a graph by the names of the values around it. */
export interface BlockSite {
  /** Its path: what parameters are named after. */
  readonly path: string;
  /** What the module reads. */
  readonly input: string;
  /** What it gives, and what is changed. */
  readonly output: string;
  /** What the output is added to, where it is. */
  readonly residual?: string;
  readonly position?: BlockPosition;
}

/** Paths of all modules of a graph, in its order, from the scopes of the node names. */
export function modulePaths({ model: { graph } }: ImportedModel): readonly string[] {
  const paths = new Set<string>();
  for (const node of graph.nodes) {
    const parts = scopeOf(node).split(".").slice(1, -1);
    for (let end = 1; end <= parts.length; end++) paths.add(parts.slice(0, end).join("."));
  }
  return [...paths];
}

/**
 * A module by its path, from the scopes of the node names ("/blocks.0/mlp/fc1/MatMul" lies in "blocks.0.mlp"): what
 * enters it from other nodes, what leaves it, and what that is added to. Where several values enter or leave, those that
 * no layer had a part in (masks, rotations) do not count, nor do outputs of the model (a cache). Throws `NO_TARGET`,
 * `AMBIGUOUS_TARGET`.
 */
export function findBlock(imported: ImportedModel, path: string): BlockSite {
  const { graph } = imported.model;
  const index = indexGraph(graph);
  const inside = new Set(graph.nodes.filter((node) => scopeOf(node).includes(`.${path}.`)));
  if (inside.size === 0) throw noModule(path, modulePaths(imported));
  const made = new Set([...inside].flatMap((node) => node.outputs));
  const reads = new Set<string>();
  const gives = new Set<string>();
  for (const node of inside) {
    for (const name of node.inputs)
      if (name !== "" && !made.has(name) && isActivation(name, imported, index)) reads.add(name);
    for (const name of node.outputs) {
      if (index.isOutput(name) || index.consumers(name).some((each) => !inside.has(each))) gives.add(name);
    }
  }
  const isHidden = reads.size > 1 || gives.size > 1 ? hiddenValues(imported) : undefined;
  const entering = reads.size > 1 ? [...reads].filter((name) => isHidden?.has(name)) : [...reads];
  const handedOn = (name: string) => index.consumers(name).some((each) => !inside.has(each));
  const leaving = gives.size > 1 ? [...gives].filter((name) => isHidden?.has(name) && handedOn(name)) : [...gives];
  if (entering.length !== 1 || leaving.length !== 1) {
    throw new LoomweightError({
      code: "AMBIGUOUS_TARGET",
      problem: `the module "${path}" has ${reads.size} inputs and ${gives.size} outputs`,
      option: "targets",
      expected: "one of each",
      found: `inputs ${list(reads)}; outputs ${list(gives)}`,
      fix: "Name its values: sites: [{ path, input, output, residual }].",
    });
  }
  const [[input], [output]] = [entering, leaving];
  const sum = index.consumers(output).find((node) => node.op === "Add" && !inside.has(node));
  const residual = sum?.inputs.find(
    (name) => name !== output && isActivation(name, imported, index) && !dependsOn(name, output, index),
  );
  const position = positionOf(path);
  return { path, input, output, ...(residual !== undefined && { residual }), ...(position && { position }) };
}

/** What kind of sub-layer a module's name says it is. */
function positionOf(path: string): BlockPosition | undefined {
  const name = path.split(".").at(-1) ?? path;
  if (/cross|encoder_attn|EncDecAttention/.test(name)) return "crossAttention";
  if (/attn|attention/i.test(name)) return "selfAttention";
  return /mlp|ffn|feed_?forward|DenseReluDense/i.test(name) ? "feedForward" : undefined;
}

/** ".blocks.0.mlp.fc1.": the scopes of a node, whatever separates them. */
function scopeOf({ name }: OnnxNode): string {
  const parts = name.split(/[/.]/).filter((part) => part !== "");
  return `.${parts.slice(0, -1).join(".")}.`;
}

/** Values that some layer had a part in. */
function hiddenValues(imported: ImportedModel): ReadonlySet<string> {
  const products = new Set(findLayers(imported).map(({ product }) => product));
  const hidden = new Set<string>();
  for (const { inputs, outputs } of imported.model.graph.nodes) {
    if (inputs.some((name) => hidden.has(name)) || outputs.some((name) => products.has(name)))
      for (const name of outputs) hidden.add(name);
  }
  return hidden;
}

/** Not a weight, nor made of weights and constants only. */
function isActivation(name: string, imported: ImportedModel, index: GraphIndex, seen = new Set<string>()): boolean {
  if (imported.model.graph.initializers.has(name)) return false;
  const producer = index.producer(name);
  if (producer === undefined) return true;
  if (seen.has(name)) return false;
  seen.add(name);
  return producer.inputs.some((each) => each !== "" && isActivation(each, imported, index, seen));
}

/** Whether a value is computed from another. */
function dependsOn(name: string, from: string, index: GraphIndex): boolean {
  const stack = [name];
  const seen = new Set(stack);
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (at === from) return true;
    for (const each of index.producer(at)?.inputs ?? []) {
      if (!seen.has(each)) stack.push(each);
      seen.add(each);
    }
  }
  return false;
}

const list = (names: ReadonlySet<string>) => (names.size === 0 ? "none" : [...names].slice(0, 4).join(", "));

/** Throws with the closest paths, or the names that modules end with. */
export function noModule(wanted: string, known: readonly string[]): LoomweightError {
  const last = [...new Set(known.map((path) => path.split(".").at(-1) ?? path))];
  const close = closestNames(wanted, [...last, ...known]).map((each) => `"${each}"`);
  return new LoomweightError({
    code: "NO_TARGET",
    problem: `no node of the graph lies in a module "${wanted}"`,
    option: "targets",
    expected: known.length === 0 ? undefined : `modules that end in: ${last.slice(0, 20).join(", ")}`,
    fix:
      close.length > 0
        ? `Did you mean ${close.join(" or ")}?`
        : "Name the values around it: sites: [{ path, input, output, residual }].",
  });
}
