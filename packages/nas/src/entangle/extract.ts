import { LoomweightError, type Tensor } from "@loomweight/tensor";
import type { Architecture } from "../space/choice.ts";
import { checkArchitecture, exists, type Space } from "../space/space.ts";
import { sliceWeight } from "./slice.ts";

/**
 * The weights of one network: views of the largest's, bit for bit its slices. Tensors that the space does not name are
 * passed on; those of layers that the network lacks are left out. Throws `INVALID_ARCHITECTURE`, `MISSING_TENSOR`,
 * `SHAPE_MISMATCH`.
 */
export function extract(
  space: Space,
  weights: Readonly<Record<string, Tensor>>,
  architecture: Architecture,
): Record<string, Tensor> {
  checkArchitecture(space, architecture);
  const own: Record<string, Tensor> = {};
  for (const name of Object.keys(space.parameters)) if (weights[name] === undefined) throw missing(name);
  for (const [name, tensor] of Object.entries(weights)) {
    const spec = Object.hasOwn(space.parameters, name) ? space.parameters[name] : undefined;
    if (spec === undefined) own[name] = tensor;
    else if (exists(spec, architecture)) own[name] = sliceWeight(tensor, spec, architecture, name);
  }
  return own;
}

function missing(name: string): LoomweightError {
  return new LoomweightError({
    code: "MISSING_TENSOR",
    problem: "the largest network lacks a parameter of the space",
    tensor: name,
    expected: "a tensor for every parameter",
  });
}
