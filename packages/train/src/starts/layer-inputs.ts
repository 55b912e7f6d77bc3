import { cast, type ImportedModel, input, instantiate, type Program, type Runtime } from "@loomweight/graph";
import type { Batch } from "@loomweight/graph/training";
import { concatenate, contiguousData, fromData, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";
import { modelInputs } from "../inputs.ts";
import type { StartLayer } from "./start-layers.ts";

/** Which tokens count. */
export interface TokenMask {
  /** Leave out positions whose label is `labelMaskValue`. Default true. */
  readonly useLabelMask?: boolean;
  /** Default −100. */
  readonly labelMaskValue?: number;
}

/** Runs the model on batches. */
export interface LayerInputs {
  /** Rows [n, in], float32, that the layers read: without padding, and one after the other where a layer is used twice. */
  rows(batch: Batch, wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, Tensor<"float32">>>;
  close(): Promise<void>;
}

/**
 * What layers of a model read. A program is compiled for each shape of batch, with the inputs of all layers as its
 * outputs. Tokens outside `attention_mask`, and those whose label does not count, are left out.
 */
export function layerInputs(
  imported: ImportedModel,
  layers: ReadonlyMap<string, StartLayer>,
  runtime: Runtime,
  mask: TokenMask = {},
): LayerInputs {
  const programs = new Map<string, Promise<Program>>();
  const names = new Set([...layers.values()].flatMap(({ sites }) => sites.map(({ x }) => x)));
  const compiled = (batch: Batch): Promise<Program> => {
    const key = Object.entries(batch)
      .map(([name, { dtype, shape }]) => `${name} ${dtype} ${shape}`)
      .join(";");
    const known = programs.get(key) ?? compile(batch);
    programs.set(key, known);
    return known;
  };
  const compile = (batch: Batch): Promise<Program> => {
    const inputs = Object.fromEntries(
      Object.entries(batch).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
    );
    const instance = instantiate(imported, { inputs: modelInputs(imported, inputs) });
    const outputs = Object.fromEntries([...names].map((name) => [name, cast(instance.value(name), "float32")]));
    return runtime.compile({ outputs, name: "layer-inputs" });
  };
  return {
    async rows(batch, wanted) {
      const program = await compiled(batch);
      const needed = new Set([...wanted].flatMap((path) => (layers.get(path)?.sites ?? []).map(({ x }) => x)));
      const feeds = Object.fromEntries(program.inputs.map(({ name }) => [name, batch[name]]));
      const found = await program.run(feeds, { outputs: [...needed] });
      const counted = countedTokens(batch, mask);
      const kept = new Map([...needed].map((name) => [name, keptRows(found[name], counted)]));
      return new Map(
        [...wanted].map((path) => {
          const uses = (layers.get(path)?.sites ?? []).map(({ x }) => kept.get(x) as Tensor<"float32">);
          return [path, uses.length === 1 ? uses[0] : concatenate(uses, 0)];
        }),
      );
    },
    async close() {
      for (const program of programs.values()) await (await program).close();
    },
  };
}

/** For every token of a batch whether it counts; undefined where there are no masks. */
function countedTokens(
  batch: Batch,
  { useLabelMask = true, labelMaskValue = -100 }: TokenMask,
): readonly boolean[] | undefined {
  const { attention_mask: attention, labels } = batch;
  const byLabel = useLabelMask && labels !== undefined && labels.shape.length === 2;
  if (attention === undefined && !byLabel) return undefined;
  const [on, label] = [attention, byLabel ? labels : undefined].map((each) => each && toFloat64(each));
  if (on !== undefined && label !== undefined && on.length !== label.length) {
    throw new LoomweightError({
      code: "INVALID_BATCH",
      problem: "labels and attention_mask do not fit",
      expected: `[${attention?.shape}]`,
      found: `[${labels?.shape}]`,
    });
  }
  return Array.from((on ?? label) as Float64Array, (_, i) => on?.[i] !== 0 && label?.[i] !== labelMaskValue);
}

/** Rows [n, in] of x [.., in]; of what has one row a token, those of the tokens that count. */
function keptRows(x: Tensor, counted: readonly boolean[] | undefined): Tensor<"float32"> {
  const width = x.shape.at(-1) as number;
  const data = contiguousData(x) as Float32Array;
  const count = data.length / width;
  if (counted === undefined || counted.length !== count) return fromData("float32", data, [count, width]);
  const kept = counted.flatMap((counts, row) => (counts ? [row] : []));
  const rows = new Float32Array(kept.length * width);
  kept.forEach((row, i) => {
    rows.set(data.subarray(row * width, (row + 1) * width), i * width);
  });
  return fromData("float32", rows, [kept.length, width]);
}
