export { type Adapter, type AdaptOptions, adapt } from "./adapt.ts";
export { type AffinityKind, type AffinityOptions, affinityMatrix } from "./affinity.ts";
export * from "./define.ts";
export { correctPredictions, type LameOptions, type LameResult, lameObjective } from "./laplacian.ts";
// methods:begin, written by `pnpm gen`
export { lame } from "./methods/lame.ts";
// methods:end
export { type Rows, rowsOf } from "./rows.ts";
export * from "./streams.ts";
