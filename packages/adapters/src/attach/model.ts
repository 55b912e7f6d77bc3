import { assemble, type GraphValue, isTensor, lazyTensor, type OnnxModel, parameter } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";
import type { Attachment } from "./attach.ts";

export interface AttachedModelOptions {
  /** Values of the attachment's parameters; default the first values. */
  readonly parameters?: Readonly<Record<string, Tensor>>;
  /** Which adapters are at work; default all. */
  readonly active?: readonly string[];
  /** Of the graph; default that of the model. */
  readonly name?: string;
}

/**
 * The model with its adapters as a model of its own, ready to be written: the adapters' numbers are weights under their
 * names among the attachment's parameters, and what adapters are told (`task`) is an input. What does not fold is
 * exported this way.
 */
export function attachedModel(attachment: Attachment, options: AttachedModelOptions = {}): OnnxModel {
  const { active, name = attachment.model.model.graph.name } = options;
  const given = { ...attachment.parameters, ...options.parameters };
  const parameters = Object.fromEntries(
    Object.entries(given).map(([each, tensor]) => [each, parameter(each, lazyTensor(tensor))]),
  );
  const { inputs, outputs, opsets, functions } = attachment.instantiate({ parameters, active });
  const open = Object.values(inputs).filter((value): value is GraphValue => !isTensor(value));
  return assemble({ name, inputs: open, outputs, opsets, functions });
}
