export { type AbandonOptions, abandonOutput } from "./abandon-output.ts";
export { fileSource } from "./file-source.ts";
export { folderFileSet } from "./folder.ts";
export type { JournalFacts } from "./journal.ts";
export { openCheckpoint, openModel } from "./open.ts";
export { diskFileSystem, type OutputFileSystem } from "./output-file-system.ts";
export {
  createOutputFolder,
  type FileOutputFolder,
  type JournalOptions,
  type OutputFolderOptions,
  withOutputFolder,
} from "./output-folder.ts";
export { type SaveSafetensorsOptions, saveSafetensors } from "./save.ts";
export { digest, type SourceFiles, sourceFacts } from "./source-facts.ts";
export {
  createTensorWriter,
  type FileTensorWriter,
  openPositionalWriter,
  type PositionalWriter,
} from "./tensor-writer.ts";
