import { stat } from "node:fs/promises";
import { relative } from "node:path";
import type { OnnxModel, ValueInfo } from "@loomweight/graph";
import { type ExternalFile, externalFiles, openOnnxFile } from "@loomweight/graph/node";
import { byteLengthOf, elementCount } from "@loomweight/tensor";
import { LoomweightError } from "@loomweight/tensor/errors";
import type { CommandContext } from "../context.ts";
import { formatBytes, formatCount, plural } from "../output/format.ts";
import { formatPairs, formatTable } from "../output/table.ts";
import { countOperators, providersFor, providersLine } from "./onnx-providers.ts";

/** How many weights are listed unless all are asked for. */
const shownWeights = 20;

/** Says what ONNX files hold: inputs, outputs, operators, weights. */
export async function inspectOnnx(
  context: CommandContext,
  all: boolean,
  path: string,
  files: readonly string[],
): Promise<void> {
  const { report } = context;
  const described = [];
  for (const file of files) {
    const { model, close } = await openOnnxFile(file);
    try {
      const external = await filesBeside(context, file, model);
      described.push({ ...describeModel(model, relative(path, file) || file, (await stat(file)).size), external });
    } finally {
      await close();
    }
  }
  report.data({ kind: "onnx", location: path, files: described });
  for (const [i, each] of described.entries()) {
    if (i > 0) report.result("");
    for (const line of modelLines(each, all, files.length === 1, report.style.bold)) report.result(line);
  }
}

/** The files of external data; what is wrong with them is a warning: a graph can be looked at without its weights. */
async function filesBeside({ report }: CommandContext, file: string, model: OnnxModel): Promise<ExternalFile[]> {
  try {
    return await externalFiles(file, model);
  } catch (cause) {
    if (!(cause instanceof LoomweightError)) throw cause;
    report.warn(cause.message);
    return [];
  }
}

type DescribedModel = ReturnType<typeof describeModel> & { readonly external: readonly ExternalFile[] };

function describeModel(model: OnnxModel, file: string, bytes: number) {
  const operators = countOperators(model.graph);
  const weights = [...model.graph.initializers.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    byteLength: byteLengthOf(dtype, elementCount(shape)),
  }));
  const value = ({ name, dtype, shape }: ValueInfo) => ({ name, dtype, shape });
  return {
    file,
    bytes,
    irVersion: model.irVersion,
    producer: [model.producer.name, model.producer.version].filter((part) => part !== "").join(" "),
    opsets: model.opsets,
    metadata: model.metadata,
    inputs: model.graph.inputs.filter(({ name }) => !model.graph.initializers.has(name)).map(value),
    outputs: model.graph.outputs.map(value),
    nodeCount: model.graph.nodes.length,
    operators,
    providers: providersFor(Object.keys(operators)),
    bytesByDType: bytesByDType(weights),
    weights,
  };
}

/** Bytes of the weights of each dtype, largest first. */
function bytesByDType(weights: readonly { dtype: string; byteLength: number }[]): Record<string, number> {
  const sums = new Map<string, number>();
  for (const { dtype, byteLength } of weights) sums.set(dtype, (sums.get(dtype) ?? 0) + byteLength);
  return Object.fromEntries([...sums].sort((a, b) => b[1] - a[1]));
}

function modelLines(model: DescribedModel, all: boolean, alone: boolean, bold: (text: string) => string): string[] {
  const parameters = model.weights.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const operators = Object.entries(model.operators).map(([name, count]) => `${name} ${count}`);
  const sizes = Object.entries(model.bytesByDType).map(([dtype, bytes]) => `${dtype} ${formatBytes(bytes)}`);
  const opsets = Object.entries(model.opsets).map(
    ([domain, version]) => `${domain === "" ? "ai.onnx" : domain} ${version}`,
  );
  const lines = formatPairs([
    ["file", `${model.file} (${formatBytes(model.bytes)})`],
    [
      "weights in",
      model.external.map(({ name, byteLength }) => `${name} (${formatBytes(byteLength)})`).join(", ") || undefined,
    ],
    [
      "format",
      `IR ${model.irVersion}, ${opsets.join(", ")}${model.producer === "" ? "" : `, made by ${model.producer}`}`,
    ],
    ["weights", `${model.weights.length}, ${formatCount(parameters)} values`],
    ["sizes", sizes.length === 0 ? undefined : sizes.join(", ")],
    [
      "nodes",
      `${model.nodeCount}: ${operators.slice(0, all ? undefined : 12).join(", ")}${!all && operators.length > 12 ? ", …" : ""}`,
    ],
    ["runs on", providersLine(model.providers)],
  ]);
  const dims = (shape: ValueInfo["shape"]) => (shape === undefined ? "?" : `[${shape.join(", ")}]`);
  const values = [
    ...model.inputs.map(({ name, dtype, shape }) => ["input", name, dtype ?? "?", dims(shape)]),
    ...model.outputs.map(({ name, dtype, shape }) => ["output", name, dtype ?? "?", dims(shape)]),
  ];
  const shownValues = all ? values : shorten(values);
  lines.push(
    "",
    ...formatTable([{ title: "" }, { title: "name" }, { title: "dtype" }, { title: "shape" }], shownValues, bold),
  );
  if (!alone && !all) return lines;
  const shown = all ? model.weights : largestFirst(model.weights).slice(0, shownWeights);
  const rows = shown.map(({ name, dtype, shape, byteLength }) => [
    name,
    dtype,
    `[${shape.join(", ")}]`,
    formatBytes(byteLength),
  ]);
  const columns = [
    { title: "weight" },
    { title: "dtype" },
    { title: "shape" },
    { title: "size", align: "right" as const },
  ];
  lines.push("", ...formatTable(columns, rows, bold));
  if (shown.length < model.weights.length) {
    lines.push(`… and ${plural(model.weights.length - shown.length, "smaller weight")} (--tensors lists all)`);
  }
  return lines;
}

/** Graphs begin with dozens of constants, which say nothing. */
function largestFirst(weights: DescribedModel["weights"]): DescribedModel["weights"] {
  return [...weights].sort((a, b) => b.byteLength - a.byteLength);
}

/** A decoder has two cache inputs and outputs a layer: the middle ones are left out. */
function shorten(rows: readonly string[][]): string[][] {
  const isCache = ([, name]: readonly string[]) => /^(past_key_values|present)\./.test(name);
  const cached = rows.filter(isCache).length;
  if (cached <= 8) return [...rows];
  const short: string[][] = [];
  let skipped = 0;
  for (const row of rows) {
    const layer = /\.(\d+)\./.exec(row[1])?.[1];
    if (!isCache(row) || layer === "0") {
      if (skipped > 0) short.push(["", `… ${skipped} more of the cache`, "", ""]);
      skipped = 0;
      short.push(row);
    } else skipped++;
  }
  if (skipped > 0) short.push(["", `… ${skipped} more of the cache`, "", ""]);
  return short;
}
