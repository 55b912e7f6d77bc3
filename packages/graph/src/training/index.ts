export type { Optimizer, OptimizerCall } from "./optimizer.ts";
