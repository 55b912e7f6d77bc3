import { type GraphValue, named } from "@loomweight/graph";
import type { FusedOp } from "../fusions.ts";
import type { Weights } from "../weights.ts";

/** Where in a model the code now builds: names of weights and nodes follow from `path` ("model.layers.0.mlp"). */
export interface Module {
  readonly path: string;
  readonly weights: Weights;
  /** Fused operators that the graph may use. */
  readonly fused: ReadonlySet<FusedOp>;
  /** Whether projections of one input are computed by one product. */
  readonly packs: boolean;
  /** Whether the graph runs on CPUs alone. */
  readonly cpuOnly: boolean;
  /** Whether every node must have a kernel on a GPU, sizes and positions included. */
  readonly gpuOnly: boolean;
}

/** Builds the child `name` of a module: its weights are found, and its nodes named, below that name. Synchronous. */
export function inside<T>(parent: Module, name: string, build: (module: Module) => T): T {
  return named(name.replaceAll(".", "/"), () => build({ ...parent, path: pathOf(parent, name) }));
}

/** Full name of something below a module. */
export function pathOf(module: Module, name: string): string {
  return module.path === "" ? name : `${module.path}.${name}`;
}

/** The module's own weight `name`, as stored. */
export function weight(module: Module, name: string, shape: readonly number[]): GraphValue {
  return module.weights.tensor(pathOf(module, name), shape);
}
