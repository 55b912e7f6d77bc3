import { add, type LazyTensor, scale, subtract } from "./lazy/lazy-tensor.ts";

/** τ = model − base. Ilharco et al. 2022, arXiv:2212.04089. */
export function taskVector(model: LazyTensor, base: LazyTensor): LazyTensor {
  return subtract(model, base);
}

/** base + lambda · update. */
export function addTaskVector(base: LazyTensor, update: LazyTensor, lambda = 1): LazyTensor {
  return add(base, scale(update, lambda));
}
