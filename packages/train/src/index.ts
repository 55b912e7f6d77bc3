export { blockCheckpoints } from "./blocks.ts";
export { otherInputs } from "./inputs.ts";
export { type Objective, objectiveLoss, objectives } from "./objectives.ts";
export {
  type AdapterLoss,
  type AdapterTraining,
  type TrainAdapterOptions,
  trainAdapter,
} from "./train-adapter.ts";
