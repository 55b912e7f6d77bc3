import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { createScratch, type GraphValue, parameterFrom } from "@loomweight/graph";
import { closestNames, isFloat, LoomweightError, shapeMismatch } from "@loomweight/tensor";

/** dtype that a graph computes in. */
export type ComputeDType = "float32" | "float16";

/** The weights of a checkpoint as parameters of a graph, read lazily and cast once to the graph's dtype. */
export interface Weights {
  readonly dtype: ComputeDType;
  /** The same weights in another dtype: parts of a half-precision graph stay float32. */
  in(dtype: ComputeDType): Weights;
  has(name: string): boolean;
  /** Shape as stored. Throws `MISSING_TENSOR`. */
  shapeOf(name: string): readonly number[];
  /** A parameter with the checkpoint's own name and shape. Throws `MISSING_TENSOR`, `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`. */
  tensor(name: string, shape: readonly number[]): GraphValue;
  /**
   * A linear weight stored [out, in] as the parameter [in, out] that MatMul wants, transposed when it is read.
   * `as`: another name for it, where the stored tensor also serves elsewhere (a tied head).
   */
  matrix(name: string, shape: readonly [out: number, inner: number], as?: string): GraphValue;
  /**
   * Several tensors that differ in their first axis only, one below the other: biases of layers that are computed by one
   * product, as the parameter `as`.
   */
  joined(parts: readonly StoredTensor[], as: string): GraphValue;
  /** Linear weights [outᵢ, in] as one parameter [in, out₁ + out₂ + …], whose product gives the results of all, one after another. */
  joinedMatrix(parts: readonly StoredTensor[], as: string): GraphValue;
  /** Marks a tensor as known and not needed. */
  ignore(name: string): void;
  /** Tensors that nothing asked for and no pattern of `harmless` names, in the order of the checkpoint. */
  unused(harmless: readonly RegExp[]): string[];
  /** The checkpoint's own name of a tensor (its prefix may be missing, a norm may be called gamma and beta). */
  storedName(name: string): string | undefined;
}

/** A tensor of a checkpoint, and the shape that the configuration gives it. */
export interface StoredTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface WeightsOptions {
  readonly dtype: ComputeDType;
  /** Prefix of the base model, which checkpoints of the bare base model lack: "model.", "bert.". */
  readonly basePrefix: string;
  /** Where the sizes come from, for messages: "config.json". */
  readonly configFile: string;
}

/** Looks weights up in `checkpoint`: with or without `basePrefix`, LayerNorm weights also as gamma and beta. */
export function weightsOf(checkpoint: Checkpoint, { dtype, basePrefix, configFile }: WeightsOptions): Weights {
  const used = new Set<string>();
  const scratch = createScratch();
  const storedName = (name: string): string | undefined => {
    const spellings = [
      name,
      name.replace(/LayerNorm\.weight$/, "LayerNorm.gamma").replace(/LayerNorm\.bias$/, "LayerNorm.beta"),
    ];
    for (const spelling of spellings) {
      if (checkpoint.tensors.has(spelling)) return spelling;
      const bare = spelling.startsWith(basePrefix) ? spelling.slice(basePrefix.length) : undefined;
      if (bare !== undefined && checkpoint.tensors.has(bare)) return bare;
    }
    return undefined;
  };
  const find = (name: string): TensorInfo => {
    const info = checkpoint.tensors.get(storedName(name) ?? "");
    if (info === undefined) throw missingTensor(checkpoint, name, configFile);
    used.add(info.name);
    return info;
  };
  const checked = (name: string, shape: readonly number[]): TensorInfo => {
    const info = find(name);
    if (info.shape.length !== shape.length || info.shape.some((size, axis) => size !== shape[axis])) {
      throw shapeMismatch({
        where: "buildModel",
        tensor: info.name,
        expected: { from: configFile, shape },
        got: { from: info.file, shape: info.shape },
        fix: "The sizes in the configuration and the weights must be of one model.",
      });
    }
    if (!isFloat(info.dtype)) {
      throw new LoomweightError({
        code: "UNSUPPORTED_DTYPE",
        problem: "weights of this dtype cannot be computed with",
        file: info.file,
        tensor: info.name,
        expected: "float32, float16, bfloat16 or another floating-point dtype",
        found: info.dtype,
        fix: "Export from the checkpoint that is not quantized.",
      });
    }
    return info;
  };
  const made = new Map<string, GraphValue>();
  const once = (key: string, make: () => GraphValue): GraphValue => {
    const value = made.get(key) ?? make();
    made.set(key, value);
    return value;
  };
  const view = (dtype: ComputeDType): Weights => ({
    dtype,
    in: view,
    has: (name) => storedName(name) !== undefined,
    shapeOf: (name) => find(name).shape,
    tensor(name, shape) {
      const stored = checked(name, shape).name;
      return once(`${stored} ${dtype}`, () => parameterFrom(checkpoint, stored, { dtype, scratch }));
    },
    matrix(name, shape, as) {
      const stored = checked(name, shape).name;
      return once(`${as ?? stored} ${dtype} transposed`, () =>
        parameterFrom(checkpoint, stored, { dtype, transpose: true, as, scratch }),
      );
    },
    joined(parts, as) {
      const stored = parts.map(({ name, shape }) => checked(name, shape).name);
      return once(`${as} ${dtype}`, () => parameterFrom(checkpoint, stored, { dtype, as, scratch }));
    },
    joinedMatrix(parts, as) {
      const stored = parts.map(({ name, shape }) => checked(name, shape).name);
      return once(`${as} ${dtype} transposed`, () =>
        parameterFrom(checkpoint, stored, { dtype, transpose: true, as, scratch }),
      );
    },
    ignore(name) {
      const stored = storedName(name);
      if (stored !== undefined) used.add(stored);
    },
    unused: (harmless) =>
      [...checkpoint.tensors.keys()].filter(
        (name) => !used.has(name) && !harmless.some((pattern) => pattern.test(name)),
      ),
    storedName,
  });
  return view(dtype);
}

function missingTensor(checkpoint: Checkpoint, name: string, configFile: string): LoomweightError {
  // The first few thousand names are enough for a suggestion; a hostile header may hold a hundred thousand.
  const close = closestNames(name, [...checkpoint.tensors.keys()].slice(0, 5000));
  return new LoomweightError({
    code: "MISSING_TENSOR",
    problem: `${configFile} describes a model with this tensor, and the weights lack it`,
    file: checkpoint.location,
    tensor: name,
    found:
      close.length === 0
        ? `${checkpoint.tensors.size} other tensors`
        : `${close.map((each) => `"${each}"`).join(", ")}`,
    fix: "Check that all weight files are there, and that the configuration (number of layers, biases, tied head) is that of these weights.",
  });
}
