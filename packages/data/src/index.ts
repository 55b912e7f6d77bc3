export * from "./batches.ts";
export * from "./dataset.ts";
export { gunzip, readIdx } from "./idx.ts";
export * from "./images.ts";
export * from "./prefetch.ts";
export { type PackedBatch, type PackOptions, packTokens } from "./text/pack.ts";
export { ignoredLabel, type PadOptions, padTokens, type TokenBatch, type Tokens } from "./text/pad.ts";
