export { type CompanionFile, companionsFor } from "./companions.ts";
export { type ConfigFileOptions, exportedConfig } from "./config-file.ts";
export { checkDTypes, type ExportDType, type ExportDTypeFacts, exportDTypes, modelFileName } from "./dtypes.ts";
export { type ExportOptions, type ExportPlan, type PlannedGraph, planExport } from "./plan.ts";
export type { ExportedFile, ExportReport, ExportWarning, Verification } from "./report.ts";
