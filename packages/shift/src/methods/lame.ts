import { fromFloat64, LoomweightError } from "@loomweight/tensor";
import { type Classifier, defineShiftMethod } from "../define.ts";
import { laplacianOptions, solveLaplacian } from "../laplacian.ts";
import { rowsOf, softmaxRows } from "../rows.ts";

/**
 * LAME: keeps the classifier and corrects its predictions of one batch so that neighbours in feature space agree.
 * y ← softmax(log(q + 1e-10) + λ W y) from y = q, all rows at once, until the bound stands still; q are the
 * classifier's probabilities, W the affinity of the features. float64.
 * Source: Boudiaf et al. 2022, arXiv:2201.05718, §4.
 * Differs: a sample is told from its twins by index; `rbf` with k = 1 (a width of 0) is refused and a batch of one with
 * `rbf` is left as it is (the reference divides by 0).
 */
export const lame = defineShiftMethod({
  name: "lame",
  source: "arXiv:2201.05718",
  summary: "Corrects a frozen classifier's predictions batch by batch: neighbours in feature space are drawn together.",
  options: laplacianOptions,
  async init() {
    return {};
  },
  async predict(model: Classifier, _state: Readonly<Record<string, never>>, x, values) {
    const { logits, features } = await model.classify(x);
    if (features === undefined) {
      throw new LoomweightError({
        code: "MISSING_FEATURES",
        problem: "lame: the classifier gives no features",
        expected: "an output [N, D] of the layer before the head, beside the logits",
        fix: "Name it when the classifier is made, or export the model with that output.",
      });
    }
    const probabilities = softmaxRows(rowsOf(logits, "logits"));
    const found = solveLaplacian(probabilities, rowsOf(features, "features"), values);
    return { probabilities: fromFloat64(found.y, logits.shape, "float32") };
  },
});
