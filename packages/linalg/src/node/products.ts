import { assemble, encodeOnnx, input, lazyTensor, matMul, parameter } from "@loomweight/graph";
import { openSession, type SessionOptions } from "@loomweight/graph/node";
import { cast, LoomweightError, type Tensor, transpose, zeros } from "@loomweight/tensor";
import { type Matrix, requireMatrix } from "../core/dense.ts";
import type { MatrixProducts } from "../randomized-svd.ts";

/** Products with a matrix that onnxruntime holds. */
export interface OpenProducts extends MatrixProducts {
  /** Frees it. Idempotent. */
  close(): Promise<void>;
}

/**
 * Loads a [m, n] into onnxruntime, in a thread of its own, for products with it: in the dtype of a (float32 or float64),
 * on all cores. Throws `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `MATRIX_TOO_LARGE`, and what `openSession` throws (`RUNTIME_MISSING`, …).
 */
export async function openProducts(a: Tensor, options: SessionOptions = {}): Promise<OpenProducts> {
  requireMatrix(a, { function: "openProducts", operand: "a" });
  return loadProducts(a, options);
}

/** As `openProducts`, for a matrix that is checked. */
export async function loadProducts(a: Matrix, options: SessionOptions): Promise<OpenProducts> {
  const { dtype, shape } = a;
  if (shape[0] * shape[1] > 2 ** 28) {
    throw new LoomweightError({
      code: "MATRIX_TOO_LARGE",
      problem: "openProducts: the matrix does not fit into an ONNX file",
      tensor: "a",
      expected: `at most ${2 ** 28} entries`,
      found: `[${shape}]`,
      fix: "Pass products of its parts to randomizedSvdOf.",
    });
  }
  const [m, n] = shape;
  const held = parameter("a", lazyTensor(a));
  // One graph for both products: the one that is not asked for has no rows. The matrix stands once, and never turned.
  const x = input("x", dtype, [n, "k"]);
  const yt = input("yt", dtype, ["l", m]);
  const model = assemble({
    name: "products",
    inputs: [x, yt],
    outputs: { times: matMul(held, x), transposeTimes: matMul(yt, held) },
  });
  const session = await openSession(await encodeOnnx(model), {
    ...options,
    sessionOptions: {
      // packed once more, the matrix would stand twice
      extra: { session: { disable_prepacking: "1" } },
      ...options.sessionOptions,
    },
  });
  return {
    shape: [m, n],
    async times(right) {
      const feeds = { x: cast(right, dtype), yt: zeros([0, m], dtype) };
      return (await session.run(feeds)).times;
    },
    async transposeTimes(right) {
      const turned = transpose(cast(right, dtype));
      const { transposeTimes } = await session.run({ x: zeros([n, 0], dtype), yt: turned });
      return transpose(transposeTimes);
    },
    close: () => session.close(),
  };
}
