export { evaluate } from "./evaluate.ts";
export {
  type ExternalFile,
  externalFiles,
  type OpenedOnnx,
  openOnnxFile,
  readOnnxFile,
} from "./files.ts";
export { createRuntime, type NodeRuntimeOptions } from "./runtime.ts";
export { saveTraining } from "./save-training.ts";
export { type SharedModel, type SharedModels, serveWriting } from "./serve-writing.ts";
export {
  onnxruntimeVersion,
  openSession,
  type Session,
  type SessionOptions,
  type SessionRunOptions,
  type SessionValue,
} from "./session.ts";
export { workerUrl } from "./worker-url.ts";
export { type WriteOnnxFileOptions, writeOnnxFile } from "./write-file.ts";
export { createWriterPool, type WriterPool, type WriterPoolOptions } from "./writer-pool.ts";
