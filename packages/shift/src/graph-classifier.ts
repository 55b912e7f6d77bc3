import {
  cast,
  floatOf,
  type GraphValue,
  type ImportedModel,
  importOnnx,
  input,
  instantiate,
  isTensor,
  type OnnxModel,
  type Runtime,
  type Value,
  type ValueSite,
} from "@loomweight/graph";
import { cast as castTensor, type DType, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { type BatchNormCall, ofBatch, type Statistics, withStatistics } from "./batch-statistics.ts";
import type { Classifier } from "./define.ts";
import { findNormLayers, type NormLayer } from "./norm-layers.ts";
import { createWorkbenches, type Workbenches } from "./workbench.ts";

export interface GraphClassifierOptions {
  /** Where it runs: `createRuntime` of @loomweight/graph/node or /web. */
  readonly runtime: Runtime;
  /** Which output holds the scores of the classes; default the first one. A Softmax at its end is left out. */
  readonly logits?: string;
  /** Name of any value of the graph that holds features [N, …] of the layer before the head, for methods that need them. */
  readonly features?: string;
}

export interface ForwardOptions extends Statistics {
  /** Weights in place of the file's, by name. Of float32 where the file has less. */
  readonly parameters?: Readonly<Record<string, Value>>;
}

/** A classifier whose graph is at hand, so that it can be differentiated: any ONNX classifier with one input. */
export interface GraphClassifier extends Classifier {
  readonly runtime: Runtime;
  /** Weights of the file. */
  readonly parameters: ReadonlyMap<string, GraphValue>;
  readonly norms: readonly NormLayer[];
  /** An input of the graph, "x", for batches like this one. Throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`. */
  inputLike(x: Tensor): GraphValue;
  /** The network on a batch, as values of a graph. */
  forward(x: Value, options: ForwardOptions): { readonly logits: Value; readonly features?: Value };
  /** All batch normalizations by the batch, and what their running statistics become, by the names of the file. */
  observe(x: Value, momentum: number, parameters: Readonly<Record<string, Value>>): Record<string, Value>;
  /** Weights read and widened to float32, by name. */
  read(names: Iterable<string>): Promise<Record<string, Tensor>>;
  /** What methods keep in the runtime for this classifier. */
  readonly benches: Workbenches;
  /** Frees what methods keep in the runtime; the runtime itself stays. */
  close(): Promise<void>;
}

/**
 * Opens an ONNX classifier, ours or imported, for methods that need its graph. Throws what `importOnnx` throws,
 * `UNKNOWN_OUTPUT`, `UNKNOWN_VALUE`, `INVALID_CLASSIFIER` where it has several inputs or its scores are no matrix.
 */
export async function openGraphClassifier(model: OnnxModel, options: GraphClassifierOptions): Promise<GraphClassifier> {
  const imported = await importOnnx(model);
  return graphClassifierOf(imported, options);
}

function graphClassifierOf(imported: ImportedModel, options: GraphClassifierOptions): GraphClassifier {
  const { runtime } = options;
  const info = onlyInput(imported);
  const output = outputName(imported, options.logits);
  const norms = findNormLayers(imported);
  const benches = createWorkbenches(runtime);

  const call = (
    x: Value,
    parameters: Readonly<Record<string, Value>>,
    change: (norm: BatchNormCall) => Value | undefined,
  ) => {
    const given = Object.entries(parameters).map(([name, value]) => {
      const dtype = imported.parameters.get(name)?.dtype ?? value.dtype;
      return [name, value.dtype === dtype ? value : cast(value, dtype)] as const;
    });
    const instance = instantiate(imported, {
      inputs: { [info.name]: x },
      parameters: Object.fromEntries(given),
      change: (site) => {
        const norm = batchNormOf(site);
        return norm && change(norm);
      },
    });
    const logits = withoutSoftmax(instance.outputs[output]);
    if (logits.shape.length !== 2) {
      throw invalidClassifier(`its output "${output}" is no matrix`, "[samples, classes]", `[${logits.shape}]`);
    }
    return {
      logits: widened(logits),
      ...(options.features !== undefined && { features: instance.value(options.features) }),
    };
  };

  const classifier: GraphClassifier = {
    runtime,
    parameters: imported.parameters,
    norms,
    benches,
    inputLike(x) {
      const { dtype = x.dtype, shape = x.shape, name } = info;
      if (x.dtype === dtype && x.shape.length === shape.length) return input("x", x.dtype, x.shape);
      throw new LoomweightError({
        code: x.dtype === dtype ? "SHAPE_MISMATCH" : "DTYPE_MISMATCH",
        problem: "a batch does not fit the classifier's input",
        tensor: name,
        expected: `${dtype} [${shape}]`,
        found: `${x.dtype} [${x.shape}]`,
      });
    },
    forward: (x, { parameters = {}, ...statistics }) => call(x, parameters, (norm) => withStatistics(norm, statistics)),
    observe(x, momentum, parameters) {
      const next: Record<string, Value> = {};
      const layers = norms.filter(({ kind }) => kind === "batch");
      let index = 0;
      call(x, parameters, (norm) => {
        const { output: normed, mean, variance } = ofBatch(norm, momentum);
        const layer = layers[index++];
        if (layer.mean !== undefined) next[layer.mean] = widened(mean);
        if (layer.variance !== undefined) next[layer.variance] = widened(variance);
        return normed;
      });
      return next;
    },
    async read(names) {
      const tensors: Record<string, Tensor> = {};
      for (const name of names) {
        const data = imported.parameters.get(name)?.data;
        if (data === undefined) {
          throw unknownName({ kind: "weight", name, known: imported.parameters.keys(), code: "UNKNOWN_TENSOR" });
        }
        const tensor = await data.read();
        tensors[name] = tensor.dtype === trainedDtype(tensor.dtype) ? tensor : castTensor(tensor, "float32");
      }
      return tensors;
    },
    async classify(x) {
      const bench = await benches.get(classifier, async () => ({ start: {} }));
      return bench.use({}, async () => {
        const program = await bench.program(`classify ${x.dtype} ${x.shape}`, () => {
          const value = classifier.inputLike(x);
          return { inputs: { x: value }, outputs: call(value, {}, () => undefined) };
        });
        const { logits, features } = await program.run({ x });
        return { logits, ...(features !== undefined && { features: flattened(features) }) };
      });
    },
    close: () => benches.close(),
  };
  return classifier;
}

/** The dtype a weight has while it is trained. */
export function trainedDtype(dtype: DType): "float32" | "float64" {
  return dtype === "float64" ? "float64" : "float32";
}

function onlyInput(imported: ImportedModel): ImportedModel["inputs"][number] {
  const [first, ...others] = imported.inputs;
  if (first !== undefined && others.length === 0) return first;
  const found = imported.inputs.map(({ name }) => name).join(", ") || "none";
  throw invalidClassifier("it has to have one input", "one batch of samples", found);
}

function outputName(imported: ImportedModel, wanted: string | undefined): string {
  const names = imported.outputs.map(({ name }) => name);
  const name = wanted ?? names[0];
  if (names.includes(name)) return name;
  throw unknownName({ kind: "output", name: `${name}`, known: names, code: "UNKNOWN_OUTPUT" });
}

/** Scores before the Softmax that many exported classifiers end in: what losses and logits are made from. */
function withoutSoftmax(value: Value): Value {
  if (isTensor(value) || value.node?.op !== "Softmax") return value;
  return value.node.inputs[0] as Value;
}

function batchNormOf({ node, value }: ValueSite): BatchNormCall | undefined {
  if (node.op !== "BatchNormalization" || isTensor(value) || value.node === undefined) return undefined;
  if (value.node.outputs[0] !== value) return undefined;
  const [x, scale, bias, mean, variance] = value.node.inputs as Value[];
  const call = { op: node.op, attributes: node.attributes };
  return { node: node.name, x, scale, bias, mean, variance, epsilon: floatOf(call, "epsilon", 1e-5) };
}

function widened(value: Value): Value {
  const dtype = trainedDtype(value.dtype);
  return value.dtype === dtype ? value : cast(value, dtype);
}

/** [N, …] as [N, D]. */
function flattened(features: Tensor): Tensor {
  if (features.shape.length === 2) return features;
  const [rows, ...rest] = features.shape;
  const columns = rest.reduce((product, size) => product * size, 1);
  return { ...features, shape: [rows, columns], stride: [columns, 1] };
}

function invalidClassifier(problem: string, expected: string, found: string): LoomweightError {
  return new LoomweightError({ code: "INVALID_CLASSIFIER", problem: `the classifier: ${problem}`, expected, found });
}
