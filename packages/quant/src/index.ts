export { type AwqOptions, type AwqQuantized, quantizeAwq } from "./algorithms/awq.ts";
export { type GptqOptions, quantizeGptq } from "./algorithms/gptq.ts";
export { createHessianSum, type HessianSum } from "./algorithms/hessian.ts";
export { type HqqOptions, quantizeHqq } from "./algorithms/hqq.ts";
export { quantizeKQuant } from "./algorithms/k-quant.ts";
export { quantizeRtn } from "./algorithms/rtn.ts";
export { type StatsqBlockOptions, statsqBlocks } from "./algorithms/statsq-blocks.ts";
export { type WeightAlgorithm, weightAlgorithms } from "./algorithms/weight-coder.ts";
export { type BlockQuantized, quantizeBlocks } from "./blocks.ts";
export { type Bnb4Options, dequantizeBnb4, quantizeBnb4 } from "./bnb4.ts";
export { type Bnb4Quantized, type Bnb4Type, bnb4Levels } from "./bnb4-levels.ts";
export { type CollectHessiansOptions, collectHessians } from "./calibration/collect-hessians.ts";
export { dequantizeBlocks } from "./dequantize.ts";
export { toFloat16Clamped } from "./float16.ts";
export {
  dequantizeGatherBlocks,
  type GatherBlocks,
  type GatherOptions,
  quantizeGatherBlocks,
} from "./gather-blocks.ts";
export { type Bfloat16Options, storeBfloat16 } from "./graph/bfloat16.ts";
export { type ModelBnb4Options, quantizeModelBnb4 } from "./graph/bnb4.ts";
export { type DynamicOp, type DynamicOptions, dynamicOps, quantizeDynamic } from "./graph/dynamic.ts";
export { convertToFloat16, type Float16Options } from "./graph/float16.ts";
export { float16BlockedOps } from "./graph/float16-lists.ts";
export { type BlockRule, type MixedPreset, mixedPresets } from "./graph/mixed.ts";
export {
  type ModelDType,
  modelDTypes,
  type QuantizeModelOptions,
  q8WeightType,
  quantizeModel,
} from "./graph/quantize-model.ts";
export type { Selection } from "./graph/selection.ts";
export { quantizeWeightOnly, type WeightOnlyOptions } from "./graph/weight-only.ts";
export { dequantizeInt8, type Int8Options, type Int8Quantized, type Int8Type, quantizeInt8 } from "./int8.ts";
export { type BlockBits, type BlockOptions, blockSizes } from "./options.ts";
export { type AnnealOptions, annealed, type CgaOptions, nearThreshold } from "./qat/cga.ts";
export { dampeningLoss, distillationLoss } from "./qat/losses.ts";
export { codeRange, type LsqOptions, type LsqPlusOptions, lsq, lsqPlus, lsqScale } from "./qat/lsq.ts";
export { initQuantizedInputs, type QuantizedLinearOptions, quantizedLinear } from "./qat/ofq.ts";
export { createOscillationTracker, type OscillationOptions, type OscillationTracker } from "./qat/oscillation.ts";
export { type QkOptions, qkReparameterize } from "./qat/qk-reparameterize.ts";
export { type StatsQ, type StatsQOptions, statsq, statsqParts } from "./qat/statsq.ts";
export { type QdqBlocks, type QdqOptions, quantizeQdqBlocks } from "./qdq-blocks.ts";
export type { OnTensor, TensorReport } from "./report.ts";
