import { adapterMethods } from "@loomweight/adapters";
import type { AdapterSpec } from "@loomweight/adapters/attach";
import {
  boolean,
  choice,
  integer,
  invalidOption,
  LoomweightError,
  nonNegative,
  type OptionSpecs,
  type OptionValues,
  parseOptions,
  positive,
  text,
  unknownName,
} from "@loomweight/tensor";
import { type DataStartConfig, readDataStart } from "./data-start.ts";

const sections = ["model", "tokenizer", "task", "adapter", "data", "training", "out"] as const;
/** Fields of `adapter` that are not options of its method. */
const adapterFields = {
  method: text("lora", "a method of this package"),
  from: text("", "an adapter's folder to go on with, instead of a fresh one"),
  targets: text("all-linear", ""),
  dropout: nonNegative(0, "share of a layer's inputs that its adapter does not see in training"),
};
const selectionFields = ["targets", "exclude", "layers", "layersPattern", "patterns", "modulesToSave", "bias"] as const;

const dataSpecs = {
  train: text(undefined, "a .jsonl or .txt file, or a folder of images by class"),
  evaluation: text("", "the same for evaluations"),
  length: integer(256, "most tokens of a row; longer texts are cut", { min: 2 }),
  packing: boolean(false, "join texts to rows of `length` without padding"),
  completionOnly: boolean(true, "prompts and the turns of others do not count in the loss"),
};
const trainingSpecs = {
  epochs: positive(1, "passes over the data"),
  steps: integer(0, "updates in all; 0: as the epochs have", { min: 0 }),
  batchSize: integer(4, "rows of a batch", { min: 1 }),
  accumulate: integer(1, "batches of one update", { min: 1 }),
  optimizer: choice(["adamw", "sgd", "lion", "adafactor"], "adamw", "how parameters are updated"),
  learningRate: positive(2e-4, "the highest learning rate"),
  schedule: choice(["constant", "linear", "cosine"], "cosine", "how it falls"),
  warmup: integer(0, "updates over which it rises", { min: 0 }),
  weightDecay: nonNegative(0, "adamw: share of the weights taken away, times the learning rate"),
  clipNorm: nonNegative(1, "largest norm of all gradients; 0: any"),
  loraPlusRatio: positive(1, "LoRA+: learning rate of B over that of A"),
  gradientCheckpointing: boolean(false, "recompute blocks instead of keeping their values"),
  evaluateEvery: integer(0, "updates from one evaluation to the next; 0: at the end", { min: 0 }),
  patience: integer(0, "evaluations without a lower loss that end the training; 0: never", { min: 0 }),
  saveEvery: integer(0, "updates from one checkpoint to the next; 0: at the end", { min: 0 }),
  seed: integer(0, "of fresh parameters, order and dropout", { min: 0 }),
};

/** A checked configuration of `trainAdapterFolder`. */
export interface TrainConfig {
  /** A model's folder, or an .onnx file. */
  readonly model: string;
  /** Folder of tokenizer.json; default the model's. */
  readonly tokenizer: string | undefined;
  readonly task: string | undefined;
  readonly adapter: AdapterSpec | { readonly from: string };
  /** How a fresh adapter starts from the training data; default: without looking at it. */
  readonly start: DataStartConfig | undefined;
  readonly data: OptionValues<typeof dataSpecs>;
  readonly training: OptionValues<typeof trainingSpecs>;
  /** The PEFT folder that is written. */
  readonly out: string;
}

/** Checks a configuration: unknown keys and bad values are refused with the closest known ones. Throws `UNKNOWN_KEY`, `UNKNOWN_OPTION`, `UNKNOWN_METHOD`, `INVALID_OPTION`, `MISSING_OPTION`. */
export function readTrainConfig(raw: unknown, file?: string): TrainConfig {
  const root = section(raw, "the configuration", file);
  for (const name of Object.keys(root)) {
    if (!sections.includes(name as (typeof sections)[number])) {
      throw unknownName({ kind: "key", name, known: sections, code: "UNKNOWN_KEY", file });
    }
  }
  const { training = {}, data, adapter = {} } = root;
  const checked = {
    model: textOf(root, "model", file),
    tokenizer: root.tokenizer === undefined ? undefined : textOf(root, "tokenizer", file),
    task: root.task === undefined ? undefined : textOf(root, "task", file),
    out: textOf(root, "out", file),
    ...readAdapter(section(adapter, "adapter", file), file),
    data: parseOptions(dataSpecs, section(data ?? {}, "data", file), "data", { file }),
    training: parseOptions(trainingSpecs, section(training, "training", file), "training", { file }),
  };
  if (checked.training.patience > 0 && checked.data.evaluation === "") {
    throw invalidOption({ option: "training.patience", file }, checked.training.patience, "0 without data.evaluation");
  }
  return checked;
}

function readAdapter(
  { start, ...raw }: Readonly<Record<string, unknown>>,
  file: string | undefined,
): Pick<TrainConfig, "adapter" | "start"> {
  const adapter = readAdapterSection(raw, file);
  if (start === undefined) return { adapter, start };
  if ("from" in adapter) {
    throw invalidOption({ option: "adapter.start", file }, JSON.stringify(start), "nothing beside `from`");
  }
  return { adapter, start: readDataStart(section(start, "adapter.start", file), file) };
}

function readAdapterSection(raw: Readonly<Record<string, unknown>>, file: string | undefined): TrainConfig["adapter"] {
  const fail = (option: string, found: unknown, expected: string) =>
    invalidOption({ option: `adapter.${option}`, file }, JSON.stringify(found), expected);
  if (raw.from !== undefined) {
    const others = Object.keys(raw).filter((name) => name !== "from");
    if (others.length > 0) throw fail(others[0], raw[others[0]], "nothing beside `from`: the folder says it all");
    return { from: adapterFields.from.check(raw.from, { option: "adapter.from", file }) };
  }
  const name = raw.method === undefined ? "lora" : raw.method;
  const method = adapterMethods.find((each) => each.name === name);
  if (method === undefined) {
    const known = adapterMethods.map((each) => each.name);
    throw unknownName({ kind: "adapter method", name: String(name), known, code: "UNKNOWN_METHOD", file });
  }
  const options: Record<string, unknown> = {};
  const selection: Record<string, unknown> = {};
  const known = [...Object.keys(method.options), "method", "from", "start", "dropout", ...selectionFields];
  for (const [key, value] of Object.entries(raw)) {
    if (Object.hasOwn(method.options, key)) options[key] = value;
    else if ((selectionFields as readonly string[]).includes(key)) selection[key] = value;
    else if (key !== "method" && key !== "dropout") {
      throw unknownName({ kind: `key of adapter (${method.name})`, name: key, known, code: "UNKNOWN_KEY", file });
    }
  }
  const isNames = (value: unknown) =>
    typeof value === "string" || (Array.isArray(value) && value.every((each) => typeof each === "string"));
  for (const key of ["targets", "exclude", "layersPattern", "modulesToSave"]) {
    if (selection[key] !== undefined && !isNames(selection[key]))
      throw fail(key, selection[key], "a list of names or a pattern");
  }
  if (selection.bias !== undefined && !["none", "all", "adapted"].includes(String(selection.bias))) {
    throw fail("bias", selection.bias, "none, all or adapted");
  }
  if (selection.patterns !== undefined) section(selection.patterns, "adapter.patterns", file);
  const dropout = adapterFields.dropout.check(raw.dropout ?? 0, { option: "adapter.dropout", file });
  return {
    ...(selection as Partial<AdapterSpec>),
    method,
    options: parseOptions(method.options as OptionSpecs, options, method.name, { file }),
    dropout,
  };
}

function section(value: unknown, what: string, file: string | undefined): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: `${what} is not a mapping`,
    file,
    found: JSON.stringify(value)?.slice(0, 80),
  });
}

function textOf(root: Readonly<Record<string, unknown>>, name: string, file: string | undefined): string {
  const value = root[name];
  if (value === undefined) {
    throw new LoomweightError({ code: "MISSING_OPTION", problem: "a required key is missing", option: name, file });
  }
  if (typeof value !== "string" || value === "") throw invalidOption({ option: name, file }, value, "a path or name");
  return value;
}
