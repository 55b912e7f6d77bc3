export { blobSource } from "./blob-source.ts";
export { bytesSource } from "./bytes-source.ts";
export * from "./checkpoint.ts";
export { companionFiles, isCompanionFile } from "./companions.ts";
export { type CheckpointSummary, type CountedGroup, describeCheckpoint } from "./describe.ts";
export {
  type CheckpointDiff,
  type DiffOptions,
  diffCheckpoints,
  type TensorDifference,
  type ValueDifference,
} from "./diff.ts";
export { isPlainRelativePath } from "./file-names.ts";
export { chooseWeights, type FileSet, fileSetFromMap, openWeights } from "./file-set.ts";
export { type JsonValue, type ParseJsonOptions, parseJson, parseJsonObject } from "./json.ts";
export { openCheckpointFromFiles, openModelFromFileSet, openModelFromFiles } from "./model-folder.ts";
export { indexFileName, type PlanOptions, planSafetensors } from "./plan.ts";
export { openSafetensors, readSafetensorsHeader } from "./safetensors.ts";
export { dtypeOfSafetensorsName, safetensorsDTypes, safetensorsNameOfDType } from "./safetensors-dtypes.ts";
export {
  maxHeaderBytes,
  maxRank,
  parseSafetensorsHeader,
  readHeaderLength,
  type SafetensorsHeader,
} from "./safetensors-header.ts";
export { type OpenShard, openSharded } from "./sharded.ts";
export { tensorBytes, tensorFromBytes } from "./tensor-bytes.ts";
export {
  plannedTensors,
  streamSafetensors,
  type TensorBytesReader,
  type WriteSafetensorsOptions,
  writeSafetensors,
} from "./write-safetensors.ts";
