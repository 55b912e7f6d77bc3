export { type ExportFolderOptions, exportFolder } from "./export-folder.ts";
export { type ExportModelOptions, exportModel } from "./export-model.ts";
export { verifyFiles } from "./verify.ts";
