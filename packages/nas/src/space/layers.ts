import { parameterName } from "@loomweight/graph/nn";
import { type Axis, centred, decisionsOf, type Size } from "./axis.ts";
import type { Decision } from "./choice.ts";
import type { ParameterSpec } from "./space.ts";

// Parameters of layers under the names that @loomweight/graph/nn and PyTorch give them.

type Parameters = Record<string, ParameterSpec>;

/** A bias over `axis`, of the operation that `decisions` choose. A bias whose size is fixed is every choice's own. */
function biasSpec(axis: Axis, decisions: readonly Decision[]): ParameterSpec {
  const own = new Set(decisionsOf(axis).map(({ name }) => name));
  const joint = own.size === 0 ? [] : decisions.filter(({ name }) => !own.has(name));
  return { axes: [axis], ...(joint.length > 0 && { joint }) };
}

/** weight [outputs, inputs] and bias [outputs] of a linear layer. */
export function linearSpace(
  layer: string,
  { inputs, outputs, bias = true }: { readonly inputs: Size; readonly outputs: Size; readonly bias?: boolean },
): Parameters {
  return {
    [parameterName(layer, "weight")]: { axes: [outputs, inputs] },
    ...(bias && { [parameterName(layer, "bias")]: biasSpec(outputs, decisionsOf(inputs)) }),
  };
}

/** weight [outputs, inputs, kernel, kernel] and bias [outputs] of a convolution over `rank` axes of space, default 2. */
export function convolutionSpace(
  layer: string,
  options: {
    readonly inputs: Size;
    readonly outputs: Size;
    /** One size for every axis of space; a decided one takes the middle of the largest kernel. */
    readonly kernel: number | Decision;
    readonly rank?: 1 | 2 | 3;
    /** Every channel has a kernel of its own: weight [outputs, 1, …], `inputs` is not looked at. Default false. */
    readonly depthwise?: boolean;
    readonly bias?: boolean;
  },
): Parameters {
  const { inputs, outputs, kernel, rank = 2, depthwise = false, bias = true } = options;
  const side: Axis = typeof kernel === "number" ? kernel : centred(kernel);
  const from: Size = depthwise ? 1 : inputs;
  const weight = { axes: [outputs, from, ...new Array<Axis>(rank).fill(side)] };
  return {
    [parameterName(layer, "weight")]: weight,
    ...(bias && { [parameterName(layer, "bias")]: biasSpec(outputs, [...decisionsOf(from), ...decisionsOf(side)]) }),
  };
}

/** weight and, unless `bias` is false, bias [size] of a normalization. */
export function normSpace(
  layer: string,
  { size, bias = true }: { readonly size: Size; readonly bias?: boolean },
): Parameters {
  return {
    [parameterName(layer, "weight")]: { axes: [size] },
    ...(bias && { [parameterName(layer, "bias")]: { axes: [size] } }),
  };
}

/** weight [count, size] of an embedding. */
export function embeddingSpace(
  layer: string,
  { count, size }: { readonly count: number; readonly size: Size },
): Parameters {
  return { [parameterName(layer, "weight")]: { axes: [count, size] } };
}

/** Parameters of a layer that exists only where `depth` is at least `atLeast`: of block 3 (from 0), `atLeast` is 4. */
export function fromDepth(depth: Decision, atLeast: number, parameters: Readonly<Parameters>): Parameters {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, spec]) => [name, { ...spec, when: { decision: depth, atLeast } }]),
  );
}
