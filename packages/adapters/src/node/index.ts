export { type ConvertAdapterOptions, type ConvertResult, convertAdapter } from "./convert-adapter.ts";
export { type FoldModelOptions, type FoldProgress, type FoldResult, foldModel } from "./fold-model.ts";
export { openAdapterFolder, openFoldedFolders } from "./open.ts";
export { type UnfoldModelOptions, type UnfoldResult, unfoldModel } from "./unfold-model.ts";
export type { WriteModelOptions } from "./write-model.ts";
