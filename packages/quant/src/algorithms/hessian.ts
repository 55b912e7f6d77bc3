import { fromFloat64, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";

/** Second moments of a product's inputs, summed as they come: memory does not grow with the samples. */
export interface HessianSum {
  readonly size: number;
  /** Rows [.., K] of inputs. Throws `SHAPE_MISMATCH`, `NON_FINITE`. */
  add(inputs: Tensor): void;
  /** Σ x xᵀ over `rows` of inputs, [K, K], where a graph has summed it already. */
  addGram(gram: Tensor, rows: number): void;
  /** 2 / n Σ x xᵀ, float64 [K, K]. Throws `NO_DATA`. */
  finish(): Tensor<"float64">;
}

/** For a product with a weight [K, N]: K numbers a row. */
export function createHessianSum(size: number): HessianSum {
  const sum = new Float64Array(size * size);
  let count = 0;
  return {
    size,
    add(inputs) {
      if (inputs.shape.at(-1) !== size) throw wrongWidth(`inputs [${inputs.shape}]`, `[.., ${size}]`);
      const values = toFloat64(inputs);
      for (let from = 0; from < values.length; from += size) {
        count++;
        for (let i = 0; i < size; i++) {
          const value = values[from + i];
          if (!Number.isFinite(value)) {
            throw new LoomweightError({
              code: "NON_FINITE",
              problem: `input ${i} of row ${from / size} is ${value}`,
              expected: "finite inputs",
            });
          }
          if (value === 0) continue;
          const row = i * size;
          for (let j = 0; j <= i; j++) sum[row + j] += value * values[from + j];
        }
      }
    },
    addGram(gram, rows) {
      if (gram.shape.length !== 2 || gram.shape.some((each) => each !== size)) {
        throw wrongWidth(`products [${gram.shape}]`, `[${size}, ${size}]`);
      }
      const values = toFloat64(gram);
      count += rows;
      for (let i = 0; i < size; i++) for (let j = 0; j <= i; j++) sum[i * size + j] += values[i * size + j];
    },
    finish() {
      if (count === 0) {
        throw new LoomweightError({
          code: "NO_DATA",
          problem: "no inputs were seen: the importance of the weights is not known",
          fix: "Add calibration inputs first.",
        });
      }
      const hessian = new Float64Array(size * size);
      for (let i = 0; i < size; i++) {
        for (let j = 0; j <= i; j++) {
          const value = (2 / count) * sum[i * size + j];
          hessian[i * size + j] = value;
          hessian[j * size + i] = value;
        }
      }
      return fromFloat64(hessian, [size, size]);
    },
  };
}

function wrongWidth(found: string, expected: string): LoomweightError {
  return new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: `${found} do not belong to this product`,
    expected,
    found,
  });
}
