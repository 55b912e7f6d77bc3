/** What a page imports of a method, and how much it may weigh. */
export interface BundleEntry {
  /** What is exported is kept. */
  readonly code: string;
  /** Bytes, minified and compressed, without onnxruntime. */
  readonly limit: number;
}

/** Of one method. */
const methodLimit = 60_000;
/** Of what differentiates graphs: the gradient of every operator comes along, since any may be in a loss. */
const trainingLimit = 115_000;

const method = (code: string): BundleEntry => ({ code, limit: methodLimit });
const training = (code: string): BundleEntry => ({ code, limit: trainingLimit });

/** One method of each family as a page imports it. */
export const entries: Readonly<Record<string, BundleEntry>> = {
  "merge: ties": method(`export { ties } from "@loomweight/merge/methods/ties";`),
  "merge: ties from the index": method(`export { ties } from "@loomweight/merge";`),
  "optim: adamw": method(`export { adamw } from "@loomweight/optim/methods/adamw";`),
  "optim: adamw from the index": method(`export { adamw } from "@loomweight/optim";`),
  "shift: LAME": method(`export { adapt, lame } from "@loomweight/shift";`),
  "nas: cutting out a network": method(`export { choice, defineSpace, extract, linearSpace } from "@loomweight/nas";`),
  "nas: a sampler": method(`export { gdas } from "@loomweight/nas/samplers/gdas";`),
  "graph: training, to compare": training(`export { train } from "@loomweight/graph/training";`),
  "nas: TangleNAS, a search that trains": training(
    `export { choice, convolutionSpace, darts, defineSpace, search, tanglenas } from "@loomweight/nas";`,
  ),
};
