import type { Tensor } from "@loomweight/tensor";
import { checkModel } from "../check.ts";
import { type InferOptions, readSmallConstants, type SmallConstants } from "../infer.ts";
import { parameter } from "../inputs.ts";
import type { Initializer, OnnxModel, ValueInfo } from "../model.ts";
import type { GraphValue } from "../value.ts";
import { hoistInitializers, liftConstants } from "./hoist.ts";
import { normalizeModel } from "./normalize.ts";
import { isWeight, settingsOf } from "./weights.ts";

/** A model that `instantiate` can call, any number of times: nothing is left to read but its weights. */
export interface ImportedModel {
  /** Normalised: one opset, functions inlined, weights outside of bodies. */
  readonly model: OnnxModel;
  /** What a caller must give: inputs without a default. */
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Weights by name, as values of a graph; read when that graph is written. */
  readonly parameters: ReadonlyMap<string, GraphValue>;
  /** Small integers (shapes, axes, indices) and numbers that say how an op works (scales of a Resize, …), in memory. */
  readonly constants: ReadonlyMap<string, Tensor>;
  /** All small constants, those inside bodies too. */
  readonly small: SmallConstants;
}

export interface ImportOptions extends Pick<InferOptions, "tables"> {
  /** Which initializers are weights, beyond the default: floats that are operands, and large tensors of any dtype. */
  readonly isParameter?: (initializer: Initializer) => boolean | undefined;
}

/**
 * Prepares a model for `instantiate`: brings it to one opset (see `normalizeModel`), makes weights of
 * constants of floats, takes weights out of the bodies of If, Loop and Scan, and reads its small constants. Throws what `checkModel` throws, `UNSUPPORTED_OPSET`, `UNSUPPORTED_OP`, `INVALID_GRAPH`.
 */
export async function importOnnx(model: OnnxModel, options: ImportOptions = {}): Promise<ImportedModel> {
  checkModel(model);
  const normal = await normalizeModel(model);
  const lifted = liftConstants(normal.graph);
  const graph = hoistInitializers(lifted, await readSmallConstants(lifted));
  const small = await readSmallConstants(graph);
  const given = new Set(graph.initializers.keys());
  const settings = settingsOf(graph, small);
  const parameters = new Map<string, GraphValue>();
  const constants = new Map<string, Tensor>();
  for (const [name, each] of graph.initializers) {
    const tensor = small.get(each);
    const weight = options.isParameter?.(each) ?? isWeight(each, settings);
    if (weight || tensor === undefined) parameters.set(name, parameter(name, each.data));
    else constants.set(name, tensor);
  }
  const inputs = graph.inputs.filter((each) => !given.has(each.name));
  return { model: { ...normal, graph }, inputs, outputs: graph.outputs, parameters, constants, small };
}
