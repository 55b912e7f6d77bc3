export { type BuildModelOptions, type BuiltModel, buildModel, detectTask, familyOf } from "./build.ts";
export type { TiedHead } from "./components/heads.ts";
export type { Module } from "./components/module.ts";
export type { Pooling, PoolingMode } from "./components/pooling.ts";
export { type ConfigReader, invalidConfig, type NumberField, readConfigFields } from "./config-reader.ts";
export { families } from "./families.ts";
export {
  type AnyFamily,
  defineFamily,
  type FamilyBuild,
  type FamilyGraph,
  type FamilyGraphs,
  type GraphName,
  type HeadNames,
  type ModelFamily,
} from "./family.ts";
export { checkDevices, devices, type Fuse, type FusedOp } from "./fusions.ts";
export { isTask, type Task, taskNamed, tasks } from "./tasks.ts";
export { type ComputeDType, type Weights, type WeightsOptions, weightsOf } from "./weights.ts";
