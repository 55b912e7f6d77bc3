export { type MergeModelOptions, type MergeReport, mergeModel, planModel } from "./merge-model.ts";
export { resolveModelPath } from "./resolve-model.ts";
