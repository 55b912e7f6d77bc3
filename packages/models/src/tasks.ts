/** What an exported graph is for: it fixes the graph's inputs and outputs. Names are those of transformers.js' pipelines. */
export type Task = (typeof taskNames)[number];

const taskNames = [
  "text-generation",
  "text2text-generation",
  "automatic-speech-recognition",
  "fill-mask",
  "text-classification",
  "token-classification",
  "question-answering",
  "feature-extraction",
  "image-classification",
  "image-feature-extraction",
  "zero-shot-image-classification",
] as const;

export const tasks: readonly Task[] = taskNames;

/** The task of a name; those that optimum adds "-with-past" to are the same here: a decoder always has its cache. */
export function taskNamed(name: string): Task | undefined {
  const task = name.replace(/-with-past$/, "");
  const cached = ["text-generation", "text2text-generation", "automatic-speech-recognition"];
  return isTask(task) && (task === name || cached.includes(task)) ? task : undefined;
}

export function isTask(name: string): name is Task {
  return (tasks as readonly string[]).includes(name);
}
