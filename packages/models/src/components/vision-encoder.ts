import { cast, type Dim, type GraphValue, input, type Value } from "@loomweight/graph";
import type { FamilyBuild, FamilyGraph } from "../family.ts";
import type { Task } from "../tasks.ts";
import { logitsOutput } from "./heads.ts";

/** Tasks of an encoder of images; the last two are one. */
export const visionTasks: readonly Task[] = ["image-classification", "image-feature-extraction", "feature-extraction"];

/** The parts of an encoder of images; each builds from the root, where the head stands beside the base model. */
export interface VisionEncoderParts {
  readonly channels: number;
  /** Height and width of images: numbers, or names of sizes that are known when the graph runs. */
  readonly image: readonly [Dim, Dim];
  /** Last hidden states of pixels [batch, channels, height, width]. */
  encode(pixels: Value): Value;
  /** What feature extraction gives as `pooler_output`, where there is one. */
  readonly pool?: (last: Value) => Value | undefined;
  /** `logits` [batch, labels], and what else the head gives. */
  classify(last: Value): Readonly<Record<string, Value>>;
}

/** The graph of an encoder of images for a task; inputs and outputs as transformers.js names them. */
export function visionEncoder(
  { task, dtype }: Pick<FamilyBuild<unknown>, "task" | "dtype">,
  parts: VisionEncoderParts,
): FamilyGraph {
  const pixelValues = pixelInput(parts);
  const last = parts.encode(cast(pixelValues, dtype));
  if (task === "image-classification") {
    const outputs = Object.entries(parts.classify(last)).map(([name, value]) => [name, logitsOutput(value)]);
    return { inputs: [pixelValues], outputs: Object.fromEntries(outputs) };
  }
  const pooled = parts.pool?.(last);
  const outputs = { last_hidden_state: last, ...(pooled === undefined ? {} : { pooler_output: pooled }) };
  return {
    inputs: [pixelValues],
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, logitsOutput(value)])),
  };
}

/** `pixel_values` [batch, channels, height, width], float32. */
export function pixelInput({ channels, image }: Pick<VisionEncoderParts, "channels" | "image">): GraphValue {
  return input("pixel_values", "float32", ["batch_size", channels, ...image]);
}
