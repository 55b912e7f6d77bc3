import { adapterMethods, type BlockMethod, blockMethods } from "@loomweight/adapters";
import { type AdapterSpec, type BlockAdapterSpec, isBlockSpec } from "@loomweight/adapters/attach";
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

/** Those of an adapter that changes what modules compute. */
const blockFields = ["targets", "exclude", "sites", "modulesToSave"] as const;

const dataSpecs = {
  train: text(undefined, "a .jsonl or .txt file, or a folder of images by class"),
  evaluation: text("", "the same for evaluations"),
  length: integer(256, "most tokens of a row; longer texts are cut", { min: 2 }),
  packing: boolean(false, "put several texts into a row of `length`; none sees another"),
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
  readonly adapter: AdapterSpec | BlockAdapterSpec | { readonly from: string };
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
  if (isBlockSpec(adapter)) {
    throw invalidOption({ option: "adapter.start", file }, adapter.method.name, "an adapter of layers");
  }
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
  const block = blockMethods.find((each) => each.name === name);
  if (block !== undefined) return readBlockSection(block, raw, file);
  const method = adapterMethods.find((each) => each.name === name);
  if (method === undefined) {
    const known = [...adapterMethods, ...blockMethods].map((each) => each.name);
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

function readBlockSection(
  method: BlockMethod,
  raw: Readonly<Record<string, unknown>>,
  file: string | undefined,
): BlockAdapterSpec {
  const options: Record<string, unknown> = {};
  const selection: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(raw)) {
    if (Object.hasOwn(method.options, key)) options[key] = value;
    else if ((blockFields as readonly string[]).includes(key)) {
      const fits = key === "sites" ? Array.isArray(value) && value.every(isSite) : isNames(value);
      const expected = key === "sites" ? "a list of paths or { path, input, output }" : "a list of names or a pattern";
      if (!fits) throw invalidOption({ option: `adapter.${key}`, file }, JSON.stringify(value), expected);
      selection[key] = value;
    } else if (key !== "method") {
      const known = [...Object.keys(method.options), "method", "from", ...blockFields];
      throw unknownName({ kind: `key of adapter (${method.name})`, name: key, known, code: "UNKNOWN_KEY", file });
    }
  }
  if (selection.targets === undefined && selection.sites === undefined) {
    throw new LoomweightError({
      code: "MISSING_OPTION",
      problem: `${method.name} has to be told which modules it changes`,
      option: "adapter.targets",
      file,
      expected: 'names such as [mlp], or a pattern for whole paths such as "model\\.layers\\.\\d+"',
    });
  }
  const checked = parseOptions(method.options, options, method.name, { file });
  const told = Object.keys(method.inputs?.(checked) ?? {});
  if (told.length > 0) {
    throw new LoomweightError({
      code: "UNSUPPORTED_OPTION",
      problem: `${method.name} with these options has to be told its ${told.join(", ")} in every batch, which data files do not say`,
      option: "adapter.method",
      file,
      fix: "Use one task, or call trainAdapter with batches of your own.",
    });
  }
  return { ...(selection as Partial<BlockAdapterSpec>), method, options: checked };
}

/** A path, or a module by the names of the values around it. */
const isSite = (value: unknown): boolean => {
  if (typeof value === "string") return true;
  if (typeof value !== "object" || value === null) return false;
  const site = value as Record<string, unknown>;
  const known = ["path", "input", "output", "residual", "position"];
  return (
    Object.entries(site).every(([key, each]) => known.includes(key) && typeof each === "string") &&
    known.slice(0, 3).every((key) => site[key] !== undefined)
  );
};

const isNames = (value: unknown): boolean =>
  typeof value === "string" || (Array.isArray(value) && value.every((each) => typeof each === "string"));

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
