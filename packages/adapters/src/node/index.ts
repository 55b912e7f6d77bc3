export { type FoldModelOptions, type FoldProgress, type FoldResult, foldModel } from "./fold-model.ts";
export { openAdapterFolder, openFoldedFolders } from "./open.ts";
export { readTrainConfig, type TrainConfig } from "./train/config.ts";
export { type TrainFolderOptions, type TrainFolderResult, trainAdapterFolder } from "./train/train-folder.ts";
