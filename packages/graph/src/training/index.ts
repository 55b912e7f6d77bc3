export type { BatchSource } from "./batches.ts";
export { clipByNorm, clipByValue, globalNorm } from "./clip.ts";
export type { Evaluation } from "./evaluation.ts";
export type { Batch, Loss, LossContext, LossParts } from "./loss.ts";
export type { Optimizer, OptimizerCall } from "./optimizer.ts";
export { progressLine } from "./progress.ts";
export { createRandomInputs, drawInputs, type RandomInput, type RandomInputs } from "./random-inputs.ts";
export type { ClipOptions } from "./step-graph.ts";
export { type StepMetrics, type Training, type TrainOptions, train } from "./train.ts";
