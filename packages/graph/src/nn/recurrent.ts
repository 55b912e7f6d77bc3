import { zeros } from "@loomweight/tensor";
import { add, mul, sigmoid, sub, tanh } from "../ops/elementwise.ts";
import { concat, reshape, split } from "../ops/shape.ts";
import { named } from "../scope.ts";
import type { Value } from "../value.ts";
import { linearOf } from "./linear.ts";
import { optionalParameter, type Parameters, parameterName, parameterOf, sizesOf } from "./parameters.ts";

export interface RecurrentOptions {
  /** Default: as many as there are weights for. */
  readonly layers?: number;
}

/**
 * LSTM over x [batch, length, in]: outputs [batch, length, hidden] of the last layer. Gates in PyTorch's order i, f, g,
 * o, weights weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, …. As torch.nn.LSTM with batch_first; the steps are
 * laid out one after another, so that they differentiate and run everywhere.
 */
export function lstm(parameters: Parameters, layer: string, x: Value, options: RecurrentOptions = {}): Value {
  return stacked(parameters, layer, x, options, (gates, _hidden, cell) => {
    const size = Number(cell.shape[1]);
    const [input, forget, candidate, output] = split(add(gates.input, gates.hidden), new Array(4).fill(size), 1);
    const next = add(mul(sigmoid(forget), cell), mul(sigmoid(input), tanh(candidate)));
    return { hidden: mul(sigmoid(output), tanh(next)), cell: next };
  });
}

/** GRU over x [batch, length, in], gates in PyTorch's order r, z, n. As torch.nn.GRU with batch_first. */
export function gru(parameters: Parameters, layer: string, x: Value, options: RecurrentOptions = {}): Value {
  return stacked(parameters, layer, x, options, (gates, hidden, cell) => {
    const sizes = new Array<number>(3).fill(Number(hidden.shape[1]));
    const [inputReset, inputUpdate, inputNew] = split(gates.input, sizes, 1);
    const [hiddenReset, hiddenUpdate, hiddenNew] = split(gates.hidden, sizes, 1);
    const update = sigmoid(add(inputUpdate, hiddenUpdate));
    const candidate = tanh(add(inputNew, mul(sigmoid(add(inputReset, hiddenReset)), hiddenNew)));
    return { hidden: add(candidate, mul(update, sub(hidden, candidate))), cell };
  });
}

/** One step: sums of the gates from input and hidden state [batch, gates · hidden], and what comes next. */
type Step = (
  gates: { readonly input: Value; readonly hidden: Value },
  hidden: Value,
  cell: Value,
) => { hidden: Value; cell: Value };

function stacked(parameters: Parameters, layer: string, x: Value, { layers }: RecurrentOptions, step: Step): Value {
  let sequence = x;
  for (let index = 0; layers === undefined || index < layers; index++) {
    if (layers === undefined && index > 0 && !hasLayer(parameters, layer, index)) break;
    sequence = named(`${layer}/l${index}`, () => oneLayer(parameters, layer, index, sequence, step));
  }
  return sequence;
}

function hasLayer(parameters: Parameters, layer: string, index: number): boolean {
  return parameters[parameterName(layer, `weight_ih_l${index}`)] !== undefined;
}

function oneLayer(parameters: Parameters, layer: string, index: number, x: Value, step: Step): Value {
  const [batch, length] = sizesOf(x, layer);
  const weight = parameterOf(parameters, layer, `weight_hh_l${index}`);
  const bias = optionalParameter(parameters, layer, `bias_hh_l${index}`);
  const size = Number(weight.shape[1]);
  // All steps of the input at once: one large product instead of many small ones.
  const inputs = split(
    linearOf(
      x,
      parameterOf(parameters, layer, `weight_ih_l${index}`),
      optionalParameter(parameters, layer, `bias_ih_l${index}`),
    ),
    new Array<number>(length).fill(1),
    1,
  );
  let state: { hidden: Value; cell: Value } = { hidden: zeros([batch, size]), cell: zeros([batch, size]) };
  const outputs: Value[] = [];
  for (const each of inputs) {
    const input = reshape(each, [batch, Number(weight.shape[0])]);
    state = step({ input, hidden: linearOf(state.hidden, weight, bias) }, state.hidden, state.cell);
    outputs.push(reshape(state.hidden, [batch, 1, size]));
  }
  return concat(outputs, 1);
}
