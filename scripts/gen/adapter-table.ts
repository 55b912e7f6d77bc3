import type { AdapterMethod, BlockMethod, LayerKind } from "@loomweight/adapters";
import { adapterRandom, layerOf, paramShape } from "@loomweight/adapters";
import { type OptionSpecs, parseOptions } from "@loomweight/tensor";
import { markdownTable } from "./marked.ts";
import { linkedSource, type MethodEntry, optionList } from "./methods.ts";

/** Width of the layer whose parameters the table counts. */
const width = 768;
/** Methods that exports with adapter slots take while they run. */
const swappable = new Set(["lora", "dora"]);

/** What helps to choose an adapter method: from the definitions. */
export function adapterTable(entries: readonly MethodEntry[]): string {
  const rows = entries.map((entry) => {
    const { name, file, summary, options, source } = entry;
    return [
      `[\`${name}\`](src/methods/${file}.md)`,
      summary,
      ...(entry.scope === "block"
        ? ofBlock(entry.definition as BlockMethod)
        : ofLayer(entry.definition as AdapterMethod)),
      swappable.has(name) ? "yes" : "",
      dataNeeded(entry.definition as AdapterMethod | BlockMethod),
      optionList(options),
      linkedSource(source),
    ];
  });
  const headings = [
    "method",
    "what it does",
    "changes",
    `numbers at ${width} × ${width}`,
    "folds",
    "swaps",
    "needs data",
  ];
  return markdownTable([...headings, "options (default)", "source"], rows);
}

const kindNames: Readonly<Record<LayerKind, string>> = {
  linear: "linear",
  transposedLinear: "Conv1D",
  embedding: "embeddings",
  convolution: "convolutions",
  normalization: "norms",
};

function ofLayer(method: AdapterMethod): string[] {
  const changes = method.kinds.map((kind) => kindNames[kind]).join(", ");
  const folds = method.weight === undefined ? (method.bias === undefined ? "no" : "into biases") : "yes";
  return [changes, trainedNumbers(method), folds];
}

/** Numbers that a layer of the width trains with the default options, those of all its layers together left out. */
function trainedNumbers(method: AdapterMethod): string {
  const kind = method.kinds[0];
  const layer = layerOf(kind, kind === "normalization" ? [width] : [width, width]);
  const options = defaultsOf(method);
  if (options === undefined) return "as its options say";
  try {
    const shapes = Object.entries(method.params(layer, options));
    const places = Object.values(method.files.suffixes).flatMap(({ param, integer }) => (integer ? [param] : []));
    const frozen = new Set<string>([...(method.frozen ?? []), ...places]);
    const count = shapes.reduce((sum, [name, shape]) => {
      if (shape === undefined || frozen.has(name)) return sum;
      return sum + paramShape(shape, layer).reduce((product, size) => product * size, 1);
    }, 0);
    if (count > 0) return count.toLocaleString("en");
    return method.sharedParams === undefined ? "as its options say" : "those all layers share";
  } catch {
    return "as its options say"; // defaults that do not fit this layer
  }
}

function ofBlock(method: BlockMethod): string[] {
  const options = defaultsOf(method);
  const site = { in: width, out: width } as never;
  try {
    if (options === undefined) throw new Error("no defaults");
    const shapes = Object.values(method.params(site, options)) as (readonly number[] | undefined)[];
    const count = shapes.reduce((sum, shape) => sum + (shape ?? [0]).reduce((product, size) => product * size, 1), 0);
    return ["what modules compute", Number.isFinite(count) ? count.toLocaleString("en") : "as its options say", "no"];
  } catch {
    return ["what modules compute", "as its options say", "no"];
  }
}

/** Whether first values need statistics of a layer's inputs: with which values of `init`. Found by asking each. */
function dataNeeded(method: AdapterMethod | BlockMethod): string {
  const options = defaultsOf(method);
  const choices = (method.options.init as { readonly choices?: readonly string[] } | undefined)?.choices ?? [];
  if (options === undefined || choices.length === 0) return "";
  const asks = choices.filter((init) => {
    let asked = false;
    const random = adapterRandom(0, "table");
    const weight = random.normal("weight", [8, 8], 1);
    const context = {
      random,
      weight,
      bias: undefined,
      get statistics(): undefined {
        asked = true;
        return undefined;
      },
    };
    const site = { ...layerOf("linear", [8, 8]), path: "layers.0.mlp", index: 0, in: 8, out: 8 };
    try {
      method.init(site as never, { ...options, init } as never, context as never);
    } catch {
      // asked or not is all that counts
    }
    return asked;
  });
  return asks.length === 0 ? "" : `with \`init\` ${asks.join(", ")}`;
}

function defaultsOf<S extends OptionSpecs>(method: { readonly name: string; readonly options: S }) {
  try {
    return parseOptions(method.options, {}, method.name);
  } catch {
    return undefined; // an option that has no default
  }
}
