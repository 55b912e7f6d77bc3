import { input, split, squeeze, type Value } from "@loomweight/graph";
import type { FamilyBuild, FamilyGraph } from "../family.ts";
import type { Task } from "../tasks.ts";
import { classifier, logitsOutput } from "./heads.ts";
import { linear } from "./linear.ts";
import type { Module } from "./module.ts";

/** What an encoder of text reads, as transformers.js feeds it: int64 [batch, sequence] each. */
export interface TextInputs {
  readonly inputIds: Value;
  readonly attentionMask: Value;
  /** Only where the family has token types. */
  readonly tokenTypeIds: Value;
}

/** Tasks of an encoder with all its heads. */
export const encoderTasks: readonly Task[] = [
  "fill-mask",
  "text-classification",
  "token-classification",
  "question-answering",
  "feature-extraction",
];

/** The parts of an encoder; each builds from the root, where the heads stand beside the base model. */
export interface TextEncoderParts {
  /** Whether `token_type_ids` are an input. */
  readonly tokenTypes: boolean;
  readonly hiddenSize: number;
  readonly labels: number | undefined;
  /** Last hidden states [batch, sequence, hidden]. */
  encode(inputs: TextInputs): Value;
  /** What feature extraction gives as `pooler_output` [batch, hidden], where the weights have it. */
  readonly pool?: (last: Value) => Value | undefined;
  /** Logits [batch, sequence, vocabulary] of the masked language head. */
  fillMask(last: Value): Value;
  /** Logits [batch, labels] of the classifier. */
  classify(last: Value, inputs: TextInputs): Value;
  /** What the linear layer for tokens reads; default the last hidden states. */
  readonly tokens?: (last: Value) => Value;
  /** Name of the linear layer that gives start and end of an answer; default "qa_outputs". */
  readonly answers?: string;
}

/** The graph of an encoder of text for a task; inputs and outputs as transformers.js names them. */
export function textEncoder(
  { model, task }: Pick<FamilyBuild<unknown>, "model" | "task">,
  parts: TextEncoderParts,
): FamilyGraph {
  const shape = ["batch_size", "sequence_length"];
  const inputIds = input("input_ids", "int64", shape);
  const attentionMask = input("attention_mask", "int64", shape);
  const tokenTypeIds = input("token_type_ids", "int64", shape);
  const inputs = parts.tokenTypes ? [inputIds, attentionMask, tokenTypeIds] : [inputIds, attentionMask];
  const given = { inputIds, attentionMask, tokenTypeIds };
  return { inputs, outputs: outputsFor(task, model, parts, given) };
}

function outputsFor(task: Task, model: Module, parts: TextEncoderParts, inputs: TextInputs): Record<string, Value> {
  const { hiddenSize, labels, tokens = (last) => last, answers = "qa_outputs" } = parts;
  const last = parts.encode(inputs);
  if (task === "fill-mask") return { logits: logitsOutput(parts.fillMask(last)) };
  if (task === "text-classification") return { logits: logitsOutput(parts.classify(last, inputs)) };
  if (task === "token-classification") {
    return { logits: logitsOutput(classifier(model, tokens(last), { hiddenSize, labels })) };
  }
  if (task === "question-answering") {
    const spans = linear(model, answers, tokens(last), { inFeatures: hiddenSize, outFeatures: 2, bias: true });
    const [start, end] = split(spans, 2, -1).map((each) => logitsOutput(squeeze(each, [-1])));
    return { start_logits: start, end_logits: end };
  }
  const pooled = parts.pool?.(last);
  return {
    last_hidden_state: logitsOutput(last),
    ...(pooled === undefined ? {} : { pooler_output: logitsOutput(pooled) }),
  };
}
