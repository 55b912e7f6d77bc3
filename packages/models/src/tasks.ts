/** What an exported graph is for: it fixes the graph's inputs and outputs. Names are those of transformers.js' pipelines. */
export type Task =
  | "text-generation"
  | "fill-mask"
  | "text-classification"
  | "feature-extraction"
  | "image-classification";

export const tasks: readonly Task[] = [
  "text-generation",
  "fill-mask",
  "text-classification",
  "feature-extraction",
  "image-classification",
];

export function isTask(name: string): name is Task {
  return (tasks as readonly string[]).includes(name);
}
