export {
  readAdapterSlots,
  type WriteAdapterFileOptions,
  type WrittenAdapterFile,
  writeAdapterFile,
} from "./adapter-file.ts";
export { type ExportFolderOptions, exportFolder } from "./export-folder.ts";
export { type ExportInPlaceOptions, exportInPlace } from "./export-in-place.ts";
export { type ExportModelOptions, type ExportProgress, exportModel } from "./export-model.ts";
export { type FoldedOnnxFile, type FoldOnnxFileOptions, foldOnnxFile } from "./fold-onnx-file.ts";
export { type QuantizedFile, type QuantizeFileOptions, quantizeFile } from "./quantize-file.ts";
export { type ReweightFolderOptions, type ReweightReport, reweightFolder } from "./reweight-folder.ts";
export { verifyFiles } from "./verify.ts";
export {
  type ExportVerification,
  type VerifiedFile,
  type VerifyExportOptions,
  verifyExport,
} from "./verify-export.ts";
