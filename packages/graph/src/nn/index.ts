export { silu } from "./activation.ts";
export {
  type AttentionOptions,
  attention,
  causalMask,
  type DotProductOptions,
  dotProductAttention,
  multiheadAttention,
} from "./attention.ts";
export { type ConvolutionOptions, convolution } from "./convolution.ts";
export { dropout } from "./dropout.ts";
export {
  initConvolution,
  initEmbedding,
  initLinear,
  initNorm,
  initRecurrent,
  initRunningStatistics,
} from "./initialize.ts";
export { embedding, linear, linearOf } from "./linear.ts";
export {
  accuracy,
  binaryCrossEntropy,
  type CrossEntropyOptions,
  crossEntropy,
  huber,
  type LinearCrossEntropyOptions,
  linearCrossEntropy,
  meanAbsoluteError,
  meanSquaredError,
} from "./losses.ts";
export { gatedMlp, type MlpOptions, mlp } from "./mlp.ts";
export { type BatchNormOptions, batchNorm, groupNorm, layerNorm, type NormOptions, rmsNorm } from "./norm.ts";
export { type InitialParameters, type Parameters, parameterName, parameterOf } from "./parameters.ts";
export { gru, lstm, type RecurrentOptions } from "./recurrent.ts";
export { ropeTables, rotate } from "./rope.ts";
