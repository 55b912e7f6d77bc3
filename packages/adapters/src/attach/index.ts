export { linearTargets } from "./all-linear.ts";
export {
  type AttachedAdapter,
  type AttachedInstanceOptions,
  type AttachedModule,
  type Attachment,
  type AttachOptions,
  attach,
  type SavedTensor,
} from "./attach.ts";
export { blockAdapterFiles, readBlockAdapter } from "./block-files.ts";
export {
  attachBlocks,
  type BlockAdapterSpec,
  type BlockAttachment,
  type BlockInstanceOptions,
  type BlockSite,
  findBlock,
} from "./blocks.ts";
export { type AttachedFilesOptions, attachedFiles } from "./files.ts";
export { findLayers, type LayerForm, type LayerSite } from "./layers.ts";
export type { AdapterSpec } from "./spec.ts";
export { type TargetLayer, targetLayers } from "./target-layers.ts";
export { weightTensor } from "./weight-tensor.ts";
