/** One package of the workspace and the floor it stands on. */
export interface Floor {
  /** Folder under packages/. */
  readonly folder: string;
  /** Imports go to strictly lower floors only. */
  readonly floor: number;
  /** What it holds, for the tables and the picture. */
  readonly holds: string;
  /** Which group of the picture it belongs to. */
  readonly group: "weights" | "graphs" | "methods" | "tools";
}

/**
 * The floors of the house: the one table that the checker, the documents and the picture share. Floors may hold
 * several packages, which do not import each other.
 */
export const floors: readonly Floor[] = [
  {
    folder: "kernels",
    floor: 0,
    group: "weights",
    holds: "AssemblyScript SIMD kernels and their plain JavaScript twins",
  },
  {
    folder: "tensor",
    floor: 1,
    group: "weights",
    holds: "`Tensor`, dtypes, casts, option specs, errors, seeded random numbers",
  },
  {
    folder: "checkpoint",
    floor: 2,
    group: "weights",
    holds: "safetensors in and out, model folders, atomic output folders",
  },
  { folder: "data", floor: 2, group: "graphs", holds: "batches, shuffles, text packing, images, prefetch" },
  { folder: "graph", floor: 3, group: "graphs", holds: "ONNX graphs as values: codec, ops, rewrites, runtimes" },
  { folder: "models", floor: 4, group: "graphs", holds: "model families: config.json + checkpoint → graph" },
  { folder: "linalg", floor: 4, group: "graphs", holds: "linear algebra on graphs and in float64" },
  { folder: "optim", floor: 5, group: "graphs", holds: "optimizers, schedules, clipping, averaging" },
  { folder: "quant", floor: 6, group: "graphs", holds: "quantization to onnxruntime's formats" },
  { folder: "adapters", floor: 7, group: "methods", holds: "parameter-efficient fine-tuning: PEFT files, folding" },
  {
    folder: "merge",
    floor: 8,
    group: "methods",
    holds: "merge methods, mergekit's recipes, the streaming executor",
  },
  { folder: "train", floor: 8, group: "methods", holds: "training adapters: data, losses, checkpoints, PEFT out" },
  { folder: "rl", floor: 8, group: "methods", holds: "policy gradients with several rewards" },
  { folder: "nas", floor: 8, group: "methods", holds: "architecture search on entangled weights" },
  { folder: "shift", floor: 8, group: "methods", holds: "learning under distribution shift" },
  {
    folder: "onnx-export",
    floor: 9,
    group: "tools",
    holds: "tasks, dtypes and folders for transformers.js and onnxruntime",
  },
  {
    folder: "cli",
    floor: 10,
    group: "tools",
    holds: "the `loomweight` command: inspect, diff, merge, fold, export, run",
  },
];
