export {
  type AdapterControl,
  type AdapterSessionOptions,
  type AnySession,
  addAdapters,
  createAdapterSession,
  type TensorClass,
} from "./adapter-session/adapter-session.ts";
export { type AdapterChoice, type AdapterSet, createAdapterSet } from "./adapter-session/adapter-set.ts";
export { type CompanionFile, companionsFor } from "./companions.ts";
export { type ConfigFileOptions, exportedConfig } from "./config-file.ts";
export { checkDTypes, type ExportDType, type ExportDTypeFacts, exportDTypes, modelFileName } from "./dtypes.ts";
export { defaultMinimalKept, type FoldedGraph, type FoldGraphOptions, foldGraph } from "./fold/fold-graph.ts";
export type { KeptShare } from "./fold/kept-share.ts";
export { type ExportOptions, type ExportPlan, type PlannedGraph, planExport } from "./plan.ts";
export type { ExportedFile, ExportReport, ExportWarning, Verification } from "./report.ts";
export type { GraphReweightReport, KeptConstant, MatchedWeight } from "./reweight/report.ts";
export { type ReweightedModel, type ReweightOptions, reweightModel } from "./reweight/reweight-model.ts";
export {
  type AdapterSlotsOptions,
  addAdapterSlots,
  joinSlots,
  type SlottedModel,
} from "./slots/add-slots.ts";
export {
  type AdapterFile,
  adapterFile,
  readOnnxAdapter,
  writeOnnxAdapter,
} from "./slots/onnx-adapter.ts";
export { type AdapterValues, type ModuleValues, type SlotValuesOptions, slotValues } from "./slots/slot-values.ts";
export { type AdapterSlots, type ModuleSlot, parseAdapterSlots, type SlotLayout, slotsFile } from "./slots/slots.ts";
export { checkTarget, type ExportTarget, exportTargets } from "./targets/target.ts";
export type { Finding } from "./verify/finding.ts";
export type { OutputDifference } from "./verify/output-difference.ts";
export type { Perplexity } from "./verify/perplexity.ts";
