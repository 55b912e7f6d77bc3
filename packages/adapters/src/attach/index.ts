export { linearTargets } from "./all-linear.ts";
export {
  type AnyAdapter,
  type AttachedAdapter,
  type AttachedInstanceOptions,
  type AttachedModule,
  type Attachment,
  type AttachOptions,
  attach,
  type SavedTensor,
} from "./attach.ts";
export { openAnyAdapter, openBlockAdapter, type ReadBlockOptions } from "./block-files.ts";
export { type BlockSite, findBlock, modulePaths } from "./block-sites.ts";
export { type AttachedBlocks, type BlockAdapterSpec, isBlockSpec } from "./blocks.ts";
export { type AttachedFilesOptions, attachedFiles } from "./files.ts";
export { findLayers, type LayerForm, type LayerSite } from "./layers.ts";
export { type AttachedModelOptions, attachedModel } from "./model.ts";
export type { AdapterSpec } from "./spec.ts";
export { type TargetLayer, targetLayers } from "./target-layers.ts";
export { weightTensor } from "./weight-tensor.ts";
