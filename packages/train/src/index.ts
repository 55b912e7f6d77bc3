export { blockCheckpoints } from "./blocks.ts";
export { otherInputs } from "./inputs.ts";
export { type AdapterLoss, type Objective, objectiveLoss, objectives } from "./objectives.ts";
export { type CordaStartOptions, cordaStart } from "./starts/corda-start.ts";
export { type EvaAdapterStart, type EvaStartOptions, evaStart } from "./starts/eva-start.ts";
export { type LoraGaStartOptions, loraGaStart } from "./starts/lora-ga-start.ts";
export type { DataStart, DataStartOptions } from "./starts/start-layers.ts";
export { type AdapterTraining, type TrainAdapterOptions, trainAdapter } from "./train-adapter.ts";
