export { type AssembleOptions, assemble, inputsOf } from "./assemble.ts";
export * from "./attributes.ts";
export {
  type CapabilityTable,
  type Device,
  hasKernel,
  type Provider,
  type ProvidersOptions,
  providersOf,
} from "./capabilities/capabilities.ts";
export { honoursInput } from "./capabilities/honoured.ts";
export { checkModel, sortNodes } from "./check.ts";
export { type Branch, choose } from "./choose.ts";
export { type ReadOnnxOptions, readOnnx } from "./codec/read-onnx.ts";
export {
  type ByteSink,
  encodeOnnx,
  type OnnxSink,
  type WriteOnnxOptions,
  writeOnnx,
} from "./codec/write-onnx.ts";
export { withKernelMemory } from "./evaluate/kernel-memory.ts";
export { evaluateTrace } from "./evaluate/trace.ts";
export { type FoldOptions, foldConstants } from "./fold.ts";
export { checkpoint, recompute } from "./gradient/checkpoint.ts";
export { customGradient } from "./gradient/custom.ts";
export { type GradientOptions, gradient } from "./gradient/gradient.ts";
export type { GradientCall, GradientRule, GradientTable } from "./gradient/rule.ts";
export { stopGradient } from "./gradient/stop.ts";
export { liftConstants } from "./import/hoist.ts";
export { type ImportedModel, type ImportOptions, importOnnx } from "./import/import-onnx.ts";
export {
  type Instance,
  type InstantiateOptions,
  instantiate,
  valuesOf,
} from "./import/instantiate.ts";
export { newestOpset, normalizeModel, normalOpset, oldestOpset } from "./import/normalize.ts";
export { type Dropout, findParameters, insertDropout, type NamePattern, nameMatcher } from "./import/parameters.ts";
export type { ValueSite } from "./import/place.ts";
export { type InferOptions, inferAllTypes, inferTypes, opsetOf, withInferredTypes } from "./infer.ts";
export type { AnyType, OtherType } from "./infer-others.ts";
export * from "./inputs.ts";
export { createScratch, type Scratch } from "./lazy-bytes.ts";
export * from "./model.ts";
export * from "./onnx-dtype.ts";
export {
  apply,
  applyOne,
  contrib,
  int64Vector,
  type OpRule,
  type OpTable,
  type Sample,
  scalarOf,
  type ValueType,
} from "./op.ts";
export * from "./ops/activations.ts";
export * from "./ops/attention.ts";
export { findRule, opTables } from "./ops/catalogue.ts";
export * from "./ops/convolution.ts";
export { einsum, einsumOps } from "./ops/einsum.ts";
export * from "./ops/elementwise.ts";
export * from "./ops/generate.ts";
export {
  groupNormalization,
  groupNormalizeOps,
  instanceNormalization,
  lpNormalization,
} from "./ops/group-normalize.ts";
export * from "./ops/indexing.ts";
export * from "./ops/logic.ts";
export {
  type LossOptions,
  lossOps,
  negativeLogLikelihoodLoss,
  softmaxCrossEntropyLoss,
} from "./ops/losses.ts";
export * from "./ops/matmul.ts";
export * from "./ops/normalize.ts";
export * from "./ops/quantized.ts";
export { depthToSpace, rearrangeOps, spaceToDepth } from "./ops/rearrange.ts";
export { gru, lstm, type RecurrentOptions, recurrentOps } from "./ops/recurrent.ts";
export * from "./ops/reduce.ts";
export { type AttentionOptions, attention, scaledAttentionOps } from "./ops/scaled-attention.ts";
export { type ScatterReduction, scatterElements, scatterOps } from "./ops/scatter.ts";
export {
  concat,
  expand,
  flatten,
  reshape,
  shapeOf,
  shapeOps,
  shapeVector,
  size,
  split,
  squeeze,
  tile,
  transpose,
  unsqueeze,
} from "./ops/shape.ts";
export { mean, sumOps } from "./ops/sums.ts";
export {
  changeGraph,
  freeValues,
  type GraphChanges,
  type GraphIndex,
  indexGraph,
  initializer,
  onnxNode,
  pruneUnused,
  redirect,
  replaceNode,
  subgraphsOf,
  usedBy,
} from "./rewrite.ts";
export type { CompileOptions, Program, RunOptions, Runtime, State, StateTensor } from "./runtime/runtime.ts";
export { parametersOf, stateValue } from "./runtime/state-value.ts";
export { named } from "./scope.ts";
export * from "./value.ts";
