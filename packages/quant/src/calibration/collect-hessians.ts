import {
  gemm,
  importOnnx,
  input,
  instantiate,
  type OnnxModel,
  type Program,
  type Runtime,
  reshape,
  size,
  type Value,
} from "@loomweight/graph";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { createHessianSum, type HessianSum } from "../algorithms/hessian.ts";
import { weightMatrix } from "../graph/matrix.ts";
import { type Selection, selector } from "../graph/selection.ts";

export interface CollectHessiansOptions extends Selection {
  readonly runtime: Runtime;
  /** Inputs of the model, batch by batch; called once for every pass over them. */
  readonly batches: () => Iterable<Feeds> | AsyncIterable<Feeds>;
  /**
   * Bytes of second moments held at once; default 1 GiB. Where all of them are more, the batches are run through the
   * model several times.
   */
  readonly memory?: number;
}
type Feeds = Readonly<Record<string, Tensor>>;

/**
 * 2 / n Σ x xᵀ (float64 [K, K]) of the inputs of every MatMul with a constant weight, by the weight's name: what
 * `algorithm: "gptq"` needs. The products are taken in the graph (float32 over a batch, float64 over batches), so memory
 * does not grow with the samples; products that read the same value share one matrix. The model should be the one that
 * is quantized, in float32.
 *
 * @throws `NO_DATA` where there is no such product, no batch, or one of two sizes; and what the runtime throws
 */
export async function collectHessians(
  model: OnnxModel,
  options: CollectHessiansOptions,
): Promise<Map<string, Tensor<"float64">>> {
  const { runtime, batches, memory = 2 ** 30 } = options;
  const weightsOf = productsByInput(model, options);
  if (weightsOf.size === 0) {
    throw new LoomweightError({
      code: "NO_DATA",
      problem: "no MatMul with a constant weight [K, N] is selected",
      fix: "Look at include and exclude; Gemm nodes are not coded in blocks.",
    });
  }
  const imported = await importOnnx(model);
  const found = new Map<string, Tensor<"float64">>();
  for (const group of groups(weightsOf, memory)) {
    const sums = new Map<string, HessianSum>(group.map(([name, { size }]) => [name, createHessianSum(size)]));
    const programs = new Map<string, Promise<Program>>();
    try {
      for await (const feeds of batches()) {
        const program = await programFor(programs, feeds, sums);
        const results = await program.run(feeds);
        for (const [name, sum] of sums) {
          const elements = Number(results[`${countPrefix}${name}`].data[0]);
          sum.addGram(results[`${gramPrefix}${name}`], elements / sum.size);
        }
      }
    } finally {
      for (const program of programs.values()) await (await program.catch(() => undefined))?.close();
    }
    for (const [name, { weights }] of group) {
      const hessian = (sums.get(name) as HessianSum).finish();
      for (const weight of weights) found.set(weight, hessian);
    }
  }
  return found;

  function programFor(
    programs: Map<string, Promise<Program>>,
    feeds: Feeds,
    sums: ReadonlyMap<string, HessianSum>,
  ): Promise<Program> {
    const key = Object.entries(feeds)
      .map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape}]`)
      .join();
    const known = programs.get(key);
    if (known !== undefined) return known;
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
    );
    const instance = instantiate(imported, { inputs });
    const outputs = Object.fromEntries(
      [...sums].flatMap(([name, { size: width }]): [string, Value][] => {
        const value = instance.value(name);
        const rows = reshape(value, [-1, width]);
        return [
          [`${gramPrefix}${name}`, gemm(rows, rows, undefined, { transA: true })],
          [`${countPrefix}${name}`, size(value)],
        ];
      }),
    );
    const made = runtime.compile({ name: "second moments", inputs, outputs });
    programs.set(key, made);
    return made;
  }
}

const gramPrefix = "gram/";
const countPrefix = "count/";

/** What a product reads, and the weights that are multiplied with it. */
interface Reader {
  /** Numbers in a row. */
  readonly size: number;
  readonly weights: string[];
}

function productsByInput(model: OnnxModel, selection: Selection): Map<string, Reader> {
  const selected = selector(selection, "collectHessians");
  const readers = new Map<string, Reader>();
  const inputOf = new Map<string, string>();
  for (const { op, domain, name, inputs } of model.graph.nodes) {
    if (op !== "MatMul" || domain !== "" || !selected(name, ...inputs)) continue;
    const matrix = weightMatrix(model.graph, inputs[1]);
    if (matrix === undefined || model.graph.initializers.has(inputs[0])) continue;
    const before = inputOf.get(matrix.name);
    if (before !== undefined && before !== inputs[0]) {
      throw new LoomweightError({
        code: "NO_DATA",
        tensor: matrix.name,
        problem: "two products with different inputs share this weight: it has no one matrix of second moments",
        found: `${before}, ${inputs[0]}`,
        fix: "Exclude it.",
      });
    }
    if (before !== undefined) continue;
    inputOf.set(matrix.name, inputs[0]);
    const reader = readers.get(inputs[0]) ?? { size: matrix.data.shape[0], weights: [] };
    reader.weights.push(matrix.name);
    readers.set(inputs[0], reader);
  }
  return readers;
}

/** Inputs in order, as many together as their float64 sums and the graph's float32 ones fit; at least one. */
function groups(readers: ReadonlyMap<string, Reader>, memory: number): [string, Reader][][] {
  const found: [string, Reader][][] = [];
  let room = 0;
  for (const entry of readers) {
    const bytes = 12 * entry[1].size ** 2;
    if (found.length === 0 || bytes > room) {
      found.push([]);
      room = memory;
    }
    found[found.length - 1].push(entry);
    room -= bytes;
  }
  return found;
}
