export { type FoldModelOptions, type FoldProgress, type FoldResult, foldModel } from "./fold-model.ts";
export { openAdapterFolder, openFoldedFolders } from "./open.ts";
