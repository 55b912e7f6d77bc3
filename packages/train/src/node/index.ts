export { readTrainConfig, type TrainConfig } from "./config.ts";
export { type TrainFolderOptions, type TrainFolderResult, trainAdapterFolder } from "./train-folder.ts";
