import { assemble, type GraphValue, lazyTensor, type OnnxModel, parameter } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import { extract } from "../entangle/extract.ts";
import type { Architecture } from "../space/choice.ts";
import { chosenShape, exists, type Space } from "../space/space.ts";
import { chosenNetwork } from "./chosen.ts";
import type { NetworkModel } from "./network.ts";

/**
 * One network of a space as an ONNX model: a plain graph whose initializers are the slices, nothing of the search left.
 * `weights` are the largest network's or, already extracted, its own. Throws what `extract` and `assemble` throw.
 */
export function networkModel(
  model: NetworkModel,
  given: {
    readonly space: Space;
    readonly weights: Readonly<Record<string, Tensor>>;
    readonly architecture: Architecture;
    readonly inputs: Readonly<Record<string, GraphValue>>;
    /** Of the graph; default "network". */
    readonly name?: string;
  },
): OnnxModel {
  const { space, weights, architecture, inputs, name = "network" } = given;
  const extracted = Object.entries(space.parameters).every(
    ([each, spec]) => !exists(spec, architecture) || `${weights[each]?.shape}` === `${chosenShape(spec, architecture)}`,
  );
  const own = extracted ? weights : extract(space, weights, architecture);
  const parameters = Object.fromEntries(
    Object.entries(own).map(([each, tensor]) => [each, parameter(each, lazyTensor(tensor))]),
  );
  const outputs = model(chosenNetwork(space, parameters, architecture), inputs);
  return assemble({ name, inputs: Object.values(inputs), outputs });
}
