import { readFile } from "node:fs/promises";
import { ignoredLabel, packTokens, padTokens } from "@loomweight/data";
import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import type { ChatMessage, TrainTokenizer } from "./tokenizer.ts";

/** Tokens of one example, and which of them count in the loss. */
export interface Example {
  readonly tokens: readonly number[];
  /** Per token; absent: all count. */
  readonly counts?: readonly boolean[];
  readonly label?: number;
}

export interface TextDataOptions {
  readonly tokenizer: TrainTokenizer;
  readonly length: number;
  readonly packing: boolean;
  readonly completionOnly: boolean;
  /** Whether each text is to have a label, which is what is learned. */
  readonly labelled?: boolean;
  /** Class names in order, for data with labels. */
  readonly classes?: readonly string[];
}

const mostBytes = 2 ** 31 - 1;

/** Examples of a .jsonl file ({text}, {prompt, completion}, {messages}, {text, label}) or of a .txt file, one text a line. Throws `INVALID_DATA` with the line. */
export async function readExamples(path: string, options: TextDataOptions): Promise<readonly Example[]> {
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "EISDIR") throw cause;
    throw invalidData(path, 0, "a .jsonl or .txt file", "a folder");
  });
  if (bytes.length > mostBytes) throw invalidData(path, 0, "a file below 2 GB", `${bytes.length} bytes`);
  const lines = bytes.toString("utf8").split(/\r?\n/);
  const examples: Example[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const record = path.endsWith(".jsonl") || path.endsWith(".json") ? parsed(line, path, index) : { text: line };
    examples.push(
      exampleOf(record, { ...options, where: (expected, found) => invalidData(path, index + 1, expected, found) }),
    );
  }
  if (examples.length > 0) return examples;
  throw invalidData(path, 0, "one example a line", "an empty file");
}

type Where = (expected: string, found: string) => LoomweightError;

function exampleOf(record: Readonly<Record<string, unknown>>, options: TextDataOptions & { where: Where }): Example {
  const { tokenizer, completionOnly, where } = options;
  if (options.labelled === true && typeof record.text !== "string") {
    throw where('{"text", "label"}', JSON.stringify(record).slice(0, 120));
  }
  const { text, prompt, completion, messages, label } = record;
  if (options.labelled !== true && Array.isArray(messages)) return chatExample(messages, options);
  if (options.labelled !== true && typeof prompt === "string" && typeof completion === "string") {
    const before = tokenizer.encode(prompt);
    const after = withEnd(tokenizer.encode(completion, false), tokenizer.endId);
    return {
      tokens: [...before, ...after],
      counts: completionOnly ? [...before.map(() => false), ...after.map(() => true)] : undefined,
    };
  }
  if (typeof text !== "string") {
    throw where(
      '{"text"}, {"prompt", "completion"}, {"messages"} or {"text", "label"}',
      JSON.stringify(record).slice(0, 120),
    );
  }
  if (options.labelled !== true) return { tokens: withEnd(tokenizer.encode(text), tokenizer.endId) };
  if (label === undefined) throw where('{"text", "label"}', JSON.stringify(record).slice(0, 120));
  return { tokens: tokenizer.encode(text), label: labelOf(label, options) };
}

/** The turns of the assistant count, with what the template puts after them. */
function chatExample(
  raw: readonly unknown[],
  { tokenizer, completionOnly, where }: TextDataOptions & { where: Where },
): Example {
  const messages = raw.map((each): ChatMessage => {
    const { role, content } = (each ?? {}) as Record<string, unknown>;
    if (typeof role === "string" && typeof content === "string") return { role, content };
    throw where('messages of {"role", "content"}, both text', JSON.stringify(each)?.slice(0, 120));
  });
  const encode = (text: string) => tokenizer.encode(text, false);
  const tokens = encode(tokenizer.chat(messages));
  if (!completionOnly) return { tokens };
  const counts = tokens.map(() => false);
  messages.forEach(({ role }, index) => {
    if (role !== "assistant") return;
    const from = sharedLength(tokens, encode(tokenizer.chat(messages.slice(0, index), true)));
    const to = sharedLength(tokens, encode(tokenizer.chat(messages.slice(0, index + 1))));
    counts.fill(true, from, to);
  });
  if (!counts.includes(true)) throw where("a turn of the role assistant", messages.map(({ role }) => role).join(", "));
  return { tokens, counts };
}

function sharedLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

function labelOf(label: unknown, { classes, where }: TextDataOptions & { where: Where }): number {
  const count = classes?.length ?? Number.POSITIVE_INFINITY;
  if (typeof label === "number" && Number.isInteger(label) && label >= 0 && label < count) return label;
  const found = typeof label === "string" ? (classes?.indexOf(label) ?? -1) : -1;
  if (found >= 0) return found;
  throw where(
    classes === undefined ? "a label's number" : `a label: ${classes.slice(0, 10).join(", ")}`,
    JSON.stringify(label),
  );
}

/** All examples as rows of one length: inputs, and labels [rows, length] or, for classes, [rows]. */
export function textRows(
  examples: readonly Example[],
  { tokenizer, length, packing, labelled = false }: TextDataOptions,
): Record<string, Tensor> {
  const cut = examples.map(({ tokens }) => tokens.slice(0, length));
  if (packing && !labelled) {
    // −100 marks what does not count: the labels are packed like the tokens.
    const streams = [
      examples.map(({ tokens }) => tokens),
      examples.map(({ tokens, counts }) => tokens.map((token, i) => (counts?.[i] === false ? ignoredLabel : token))),
    ];
    const [ids, labels] = streams.map((texts) => packTokens(texts, { length, padId: tokenizer.padId }));
    const masked = Array.from(ids.labels.data, (label, i) =>
      label === BigInt(ignoredLabel) ? label : labels.input_ids.data[i],
    );
    return {
      input_ids: ids.input_ids,
      attention_mask: ids.attention_mask,
      position_ids: ids.position_ids,
      segment_ids: ids.segment_ids,
      labels: fromData("int64", BigInt64Array.from(masked), ids.labels.shape),
    };
  }
  const longest = cut.reduce((most, tokens) => Math.max(most, tokens.length), 2);
  // One length for all rows: a graph is compiled for each shape.
  const padded = padTokens(cut, { padId: tokenizer.padId, length: Math.min(length, Math.ceil(longest / 8) * 8) });
  const rows: Record<string, Tensor> = { input_ids: padded.input_ids, attention_mask: padded.attention_mask };
  if (labelled) {
    rows.labels = fromData(
      "int64",
      BigInt64Array.from(examples, ({ label }) => BigInt(label as number)),
      [examples.length],
    );
    return rows;
  }
  const labels = padded.labels.data.slice();
  const width = padded.labels.shape[1];
  examples.forEach(({ counts }, row) => {
    counts?.forEach((counted, i) => {
      if (!counted && i < width) labels[row * width + i] = BigInt(ignoredLabel);
    });
  });
  return { ...rows, labels: fromData("int64", labels, padded.labels.shape) };
}

function withEnd(tokens: readonly number[], endId: number | undefined): number[] {
  return endId === undefined || tokens.at(-1) === endId ? [...tokens] : [...tokens, endId];
}

function parsed(line: string, path: string, index: number): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw invalidData(path, index + 1, "one JSON object a line", line.slice(0, 80));
}

function invalidData(file: string, line: number, expected: string, found: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_DATA",
    problem: line === 0 ? "the data cannot be used" : `line ${line} cannot be used`,
    file,
    expected,
    found,
  });
}
