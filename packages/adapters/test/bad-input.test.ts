import { bytesSource, openSafetensors } from "@loomweight/checkpoint";
import {
  contiguousData,
  fromData,
  isFloat,
  LoomweightError,
  type OptionSpecs,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { attach, openAnyAdapter } from "../src/attach/index.ts";
import { adapterMethods, blockMethods, openFolded } from "../src/index.ts";
import { memoryCheckpoint } from "./memory.ts";
import { runExample } from "./page-example.ts";
import { adapterFolder } from "./small.ts";
import { smallDecoder, smallDecoderConfig, smallDecoderWeights } from "./small-decoder.ts";

// Every method with the faults that users bring: each is refused by a LoomweightError that says where, and never by an
// error from the depths. The adapter that is broken is the one of the example on the method's page.

interface Files {
  readonly config: Record<string, unknown>;
  readonly tensors: Map<string, Tensor>;
}

interface Fault {
  readonly what: string;
  /** Codes of which one is expected. */
  readonly codes: readonly string[];
  /** What the message has to name; default nothing more. */
  readonly says?: (files: Files) => string | RegExp;
  /** Breaks the files; false where they have nothing to break. */
  break(files: Files): boolean;
  /** Weights of another base, instead of the adapter's own. */
  readonly base?: (weights: Map<string, Tensor>) => void;
  /** Methods that accept it, with the reason. */
  readonly fine?: Readonly<Record<string, string>>;
}

const own = ({ tensors }: Files) =>
  [...tensors.keys()].filter((name) => name.includes("layers.0") || name.includes("embed"));
const floatOf = (files: Files) => own(files).find((name) => isFloat(files.tensors.get(name)?.dtype ?? "int64"));
const replaced = (files: Files, name: string | undefined, change: (tensor: Tensor) => Tensor): boolean => {
  if (name === undefined) return false;
  files.tensors.set(name, change(files.tensors.get(name) as Tensor));
  return true;
};

const faults: readonly Fault[] = [
  {
    what: "a factor without its partner",
    codes: ["MISSING_TENSOR", "EMPTY_ADAPTER", "UNSUPPORTED_ADAPTER", "INVALID_OPTION"],
    break(files) {
      const [first] = own(files);
      const module = first?.slice(0, first.indexOf("layers.0") + 30);
      const partners = own(files).filter((name) => name.startsWith(module ?? ""));
      return partners.length > 1 && files.tensors.delete(first);
    },
    fine: { "ln-tuning": "a shift may be absent: norms without bias have none" },
  },
  {
    what: "numbers stored as whole ones",
    codes: ["UNSUPPORTED_DTYPE"],
    says: (files) => floatOf(files) ?? "",
    break: (files) => replaced(files, floatOf(files), ({ shape }) => zeros(shape, "int32")),
  },
  {
    what: "NaN in a factor",
    codes: ["NON_FINITE"],
    says: (files) => floatOf(files) ?? "",
    break: (files) =>
      replaced(files, floatOf(files), (tensor) => {
        const data = Float32Array.from(contiguousData(tensor) as Float32Array);
        data[0] = Number.NaN;
        return fromData("float32", data, tensor.shape);
      }),
  },
  {
    what: "a factor of a wider layer",
    codes: ["SHAPE_MISMATCH", "INVALID_OPTION"],
    break: (files) =>
      replaced(files, floatOf(files), ({ shape }) => zeros(shape.map((size) => (size === 1 ? 1 : size + 7)))),
  },
  {
    what: "a configuration field that nobody knows",
    codes: ["UNKNOWN_OPTION"],
    says: () => "target_modlues",
    break({ config }) {
      if (config.peft_type === undefined) {
        (config.options as Record<string, unknown>).target_modlues = 3;
        return true;
      }
      config.target_modlues = ["q_proj"];
      return true;
    },
  },
  {
    what: "an unknown type",
    codes: ["UNKNOWN_ADAPTER", "UNKNOWN_METHOD"],
    break({ config }) {
      const field = config.peft_type === undefined ? "adapter_type" : "peft_type";
      config[field] = `${config[field]}X`;
      return true;
    },
  },
  {
    what: "a catastrophic pattern as targets",
    codes: ["UNSUPPORTED_PATTERN", "INVALID_PATTERN", "UNEXPECTED_TENSOR", "PATTERN_TOO_COSTLY"],
    break({ config }) {
      if (config.peft_type === undefined) return false;
      config.target_modules = "((a+)+)+\\1$";
      return true;
    },
  },
  {
    what: "targets that the file's tensors do not match",
    codes: ["UNEXPECTED_TENSOR", "EMPTY_ADAPTER", "UNKNOWN_TENSOR"],
    break({ config }) {
      if (config.peft_type === undefined) return false;
      config.target_modules = ["k_prj"];
      return true;
    },
  },
  {
    what: "an adapter of another base: other names",
    codes: ["UNKNOWN_TENSOR", "NO_TARGET"],
    break: () => true,
    base(weights) {
      for (const [name, tensor] of [...weights]) {
        weights.delete(name);
        weights.set(
          name.replace("layers", "blocks").replace("embed_tokens", "wte").replace("model.norm", "model.ln"),
          tensor,
        );
      }
    },
    fine: { unilora: "its file names modules by their ends, which this base has too" },
  },
  {
    what: "an adapter of another base: a wider model",
    codes: ["SHAPE_MISMATCH", "INVALID_OPTION", "UNSUPPORTED_ADAPTER"],
    break: ({ config }) => config.peft_type !== undefined, // block methods meet the graph: below
    base(weights) {
      for (const [name, { shape }] of [...weights]) weights.set(name, zeros(shape.map((size) => size + 4)));
    },
    fine: {
      fourierft: "its coefficients have places in a weight of any size",
      waveft: "its coefficients have places in a weight of any size",
      unilora: "its numbers are those of all layers, of any size",
    },
  },
];

const weights = smallDecoderWeights();
const model = smallDecoder(weights);

const made = new Map<string, Promise<Files>>();

/** The files of the example on the method's page, to be changed at will. */
async function exampleOf(name: string): Promise<Files> {
  const found = made.get(name) ?? makeExample(name);
  made.set(name, found);
  const { config, tensors } = await found;
  return { config: structuredClone(config), tensors: new Map(tensors) };
}

async function makeExample(name: string): Promise<Files> {
  const checkpoint = await memoryCheckpoint(weights, "base.safetensors");
  const ran = await runExample(name, { model, checkpoint, modelConfig: smallDecoderConfig }, ["config", "weights"]);
  const file = await openSafetensors(bytesSource(ran.weights as Uint8Array<ArrayBuffer>, "made"));
  const tensors = new Map<string, Tensor>();
  for (const key of file.tensors.keys()) tensors.set(key, await file.read(key));
  return { config: JSON.parse(ran.config as string), tensors };
}

/** Opens the adapter and uses it: every weight folded, or on the graph. */
async function use({ config, tensors }: Files, base: ReadonlyMap<string, Tensor>): Promise<void> {
  const folder = adapterFolder(config, tensors);
  if (config.peft_type === undefined) {
    const spec = await openAnyAdapter(folder);
    await attach(base === weights ? model : smallDecoderNamed(base), undefined, spec);
    return;
  }
  const folded = await openFolded(await memoryCheckpoint(base, "base.safetensors"), smallDecoderConfig, [folder]);
  for (const name of base.keys()) await folded.read(name);
}

/** The model under the names of another family. */
function smallDecoderNamed(base: ReadonlyMap<string, Tensor>) {
  expect([...base.keys()]).not.toEqual([...weights.keys()]);
  const { graph, ...rest } = model;
  const nodes = graph.nodes.map((node) => ({ ...node, name: node.name.replaceAll("layers", "blocks") }));
  return { ...rest, graph: { ...graph, nodes } };
}

const fresh = [...adapterMethods, ...blockMethods].filter(({ name }) => name !== "frod");
describe.for(faults)("$what", (fault) => {
  test.for(fresh)("$name", async ({ name }, context) => {
    const reason = fault.fine?.[name];
    if (reason !== undefined) return context.skip(reason);
    const files = await exampleOf(name);
    const says = fault.says?.(files) ?? "";
    if (!fault.break(files)) return context.skip("its files have nothing of the kind");
    const base = new Map(weights);
    fault.base?.(base);
    const began = performance.now();
    const error = await use(files, fault.base === undefined ? weights : base).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(LoomweightError);
    expect(fault.codes).toContain((error as LoomweightError).code);
    if (typeof says === "string") expect((error as LoomweightError).message).toContain(says);
    expect(performance.now() - began).toBeLessThan(5000);
  });
});

const wrongValues: readonly unknown[] = [
  Number.NaN,
  Number.POSITIVE_INFINITY,
  -1,
  0,
  1.5,
  "many",
  null,
  {},
  [[]],
  true,
];
describe("options", () => {
  test.for(fresh)("$name: any value is taken or refused by name; misspelt names get the closest", async (method) => {
    const specs = method.options as OptionSpecs;
    const targets = method.scope === "block" ? ["mlp"] : ["up_proj"];
    const attached = (options: Readonly<Record<string, unknown>>) =>
      attach(model, undefined, { method: method as never, options, targets });
    for (const [option, spec] of Object.entries(specs)) {
      for (const value of wrongValues) {
        const error = await attached({ [option]: value }).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        if (error === undefined) {
          expect(Number.isNaN(value), `${option}: NaN is taken`).toBe(false);
          continue;
        }
        expect(error, `${option} = ${String(value)}`).toBeInstanceOf(LoomweightError);
      }
      if (spec.kind === "number" && option === "rank" && spec.range?.includes("at least 1")) {
        await expect(attached({ rank: 0 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
      }
      if (option.length > 3) {
        const misspelt = `${option.slice(0, -2)}${option.at(-1)}${option.at(-2)}`;
        if (!Object.hasOwn(specs, misspelt))
          await expect(attached({ [misspelt]: 1 })).rejects.toThrow(new RegExp(`${misspelt}[\\s\\S]*${option}`));
      }
    }
  });

  test.for(fresh)("$name: targets that match nothing name the closest", async (method) => {
    const options = method.name === "hyperformer" ? { layers: 2 } : {};
    const attached = (targets: string | string[]) =>
      attach(model, undefined, { method: method as never, options, targets });
    for (const targets of [["up_prj", "mpl"], "((a+)+)+$"]) {
      await expect(attached(targets)).rejects.toMatchObject({
        code: expect.stringMatching(/^(NO_TARGET|UNSUPPORTED_PATTERN|INVALID_PATTERN)$/),
      });
    }
    await expect(attached(["up_prj"])).rejects.toThrow(/up_proj/);
  });
});
