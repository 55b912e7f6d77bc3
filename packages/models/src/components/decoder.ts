import {
  cast,
  expand,
  type GraphValue,
  input,
  named,
  neg,
  reduceSum,
  shapeOf,
  slice,
  squeeze,
  sub,
  unsqueeze,
  type Value,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import type { Task } from "../tasks.ts";
import type { ComputeDType } from "../weights.ts";
import { filled, maskValues, sizeOf } from "./columns.ts";
import { causalBias } from "./mask.ts";

/** Keys and values of a layer, [batch, kvHeads, tokens, headDim] each, keys already rotated. */
export interface KeyValues {
  readonly key: Value;
  readonly value: Value;
}

/** What every layer of a decoder shares. */
export interface DecoderInputs {
  readonly inputIds: GraphValue;
  readonly attentionMask: GraphValue;
  readonly positionIds: GraphValue;
  /** One per layer; undefined where the task keeps no cache. */
  readonly past: readonly KeyValues[] | undefined;
  /** All inputs in the order of the graph. */
  readonly inputs: readonly GraphValue[];
  readonly dtype: ComputeDType;
  /** How many rows a batch has; undefined: any number. */
  readonly batchSize: 1 | undefined;
  /** Score bias [batch, 1, sequence, total] of each layer. */
  readonly biases: readonly Value[];
  /** What GroupQueryAttention takes for lengths: int32 [batch], total − 1 in every row, and the int32 total. */
  readonly lastColumns: Value;
  readonly total: Value;
  /** Count of cached and new tokens, as a shape: int64 [1]. */
  readonly totalSize: Value;
}

export interface DecoderOptions {
  readonly task: Task;
  readonly layers: number;
  /** Per layer, how many keys a query sees, itself included; undefined or left out: all before it. */
  readonly windows: readonly (number | undefined)[];
  readonly kvHeads: number;
  readonly headDim: number;
  readonly dtype: ComputeDType;
  /** dtype of the cache inputs and outputs. */
  readonly cacheDtype: ComputeDType;
  /** Whether every node must have a kernel on a GPU. */
  readonly gpuOnly: boolean;
  readonly batchSize: 1 | undefined;
}

const sequenceLength = "sequence_length";
const pastLength = "past_sequence_length";

/**
 * The inputs of a decoder as transformers.js feeds them: input_ids [batch, sequence], attention_mask [batch, past +
 * sequence], position_ids [batch, sequence], and for text generation past_key_values.N.key and .value [batch, kvHeads,
 * past, headDim]. Number and size of heads are numbers there, since unknown symbols are taken for 0.
 */
export function decoderInputs(options: DecoderOptions): DecoderInputs {
  const { task, layers, kvHeads, headDim, dtype, cacheDtype } = options;
  const cached = task === "text-generation";
  const total = cached ? `${pastLength} + ${sequenceLength}` : sequenceLength;
  const batch = options.batchSize ?? "batch_size";
  const inputIds = input("input_ids", "int64", [batch, sequenceLength]);
  const attentionMask = input("attention_mask", "int64", [batch, total]);
  const positionIds = input("position_ids", "int64", [batch, sequenceLength]);
  const cacheShape = [batch, kvHeads, pastLength, headDim];
  const caches = Array.from({ length: cached ? layers : 0 }, (_, layer) => ({
    key: input(`past_key_values.${layer}.key`, cacheDtype, cacheShape),
    value: input(`past_key_values.${layer}.value`, cacheDtype, cacheShape),
  }));
  return {
    inputIds,
    attentionMask,
    positionIds,
    past: cached ? caches.map(({ key, value }) => ({ key: cast(key, dtype), value: cast(value, dtype) })) : undefined,
    inputs: [inputIds, attentionMask, positionIds, ...caches.flatMap(({ key, value }) => [key, value])],
    dtype,
    batchSize: options.batchSize,
    ...named("mask", () => ({
      totalSize: shapeOf(attentionMask, { start: 1, end: 2 }),
      biases: biasesOf(attentionMask, caches[0]?.key, options),
      ...lengthsOf(attentionMask, options),
    })),
  };
}

/** One bias per layer; layers with equal windows share it. */
function biasesOf(attentionMask: Value, past: Value | undefined, { layers, windows, dtype }: DecoderOptions): Value[] {
  const made = new Map<number | undefined, Value>();
  return Array.from({ length: layers }, (_, layer) => {
    const window = windows[layer];
    const bias = made.get(window) ?? causalBias({ attentionMask, past, window, dtype });
    made.set(window, bias);
    return bias;
  });
}

/**
 * The total is read from the mask's shape, which runtimes keep on the CPU: GPUs then need not be asked for it. Where nothing
 * may run on the CPU it is counted, and fetched from the GPU once a run.
 */
function lengthsOf(
  attentionMask: Value,
  { gpuOnly }: Pick<DecoderOptions, "gpuOnly">,
): { lastColumns: Value; total: Value } {
  const mask = gpuOnly ? maskValues(attentionMask) : attentionMask;
  const total = gpuOnly ? squeeze(cast(reduceSum(filled(mask, 1, 1), [0], true), "int32"), [0]) : sizeOf(mask, 1);
  const last = sub(total, fromData("int32", Int32Array.of(1), []));
  return { lastColumns: expand(last, shapeOf(mask, { start: 0, end: 1 })), total };
}

/** The input that says of how many last positions logits are wanted, by transformers.js's name. */
export const logitsToKeepInput = "num_logits_to_keep";

/**
 * The states that go into the head, and the inputs with `num_logits_to_keep` = n among them: of [batch, sequence, hidden]
 * the last n positions, all for n = 0, since −0 is the start.
 */
export function lastPositions(
  states: Value,
  { inputs, positionIds }: Pick<DecoderInputs, "inputs" | "positionIds">,
): { states: Value; inputs: readonly GraphValue[] } {
  const count = input(logitsToKeepInput, "int64", []);
  const behind = inputs.indexOf(positionIds) + 1;
  return {
    states: named(logitsToKeepInput, () =>
      slice(states, { axes: [1], starts: neg(unsqueeze(count, [0])), ends: [Number.POSITIVE_INFINITY] }),
    ),
    inputs: [...inputs.slice(0, behind), count, ...inputs.slice(behind)],
  };
}

/** The graph's cache outputs: present.N.key and .value [batch, kvHeads, past + sequence, headDim]. */
export function cacheOutputs(presents: readonly KeyValues[], cacheDtype: ComputeDType): Record<string, Value> {
  const outputs: Record<string, Value> = {};
  for (const [layer, { key, value }] of presents.entries()) {
    outputs[`present.${layer}.key`] = cast(key, cacheDtype);
    outputs[`present.${layer}.value`] = cast(value, cacheDtype);
  }
  return outputs;
}
