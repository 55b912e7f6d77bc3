export { evaluate } from "./evaluate.ts";
export {
  type ExternalFile,
  externalFiles,
  type OpenedOnnx,
  openOnnxFile,
  readOnnxFile,
  writeOnnxFile,
} from "./files.ts";
export { createRuntime, type NodeRuntimeOptions } from "./runtime.ts";
export { saveTraining } from "./save-training.ts";
export {
  onnxruntimeVersion,
  openSession,
  type Session,
  type SessionOptions,
  type SessionRunOptions,
  type SessionValue,
} from "./session.ts";
