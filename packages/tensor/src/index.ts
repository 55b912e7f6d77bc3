export { createRandom, type Random, type RandomKey } from "@loomweight/kernels";
export { cast } from "./cast.ts";
export { bytesOf, codesFromBytes } from "./codes.ts";
export {
  allClose,
  type Comparison,
  compare,
  equal,
  expectClose,
  maxAbsDifference,
  relativeL2,
  tolerances,
} from "./compare.ts";
export { full, type NestedNumbers, scalar, tensor } from "./create.ts";
export { dirichlet } from "./dirichlet.ts";
export * from "./dtype.ts";
export * from "./errors.ts";
export { type FormatOptions, format } from "./format.ts";
export { type Nested, toNumbers } from "./numbers.ts";
export * from "./options.ts";
export { normal, uniform } from "./random-tensors.ts";
export {
  type AxisRange,
  broadcast,
  broadcastShapes,
  concatenate,
  normalizeAxis,
  reshape,
  slice,
  transpose,
} from "./shape.ts";
export * from "./tensor.ts";
export { type CastOptions, fromFloat64, toFloat32, toFloat64 } from "./values.ts";
export { view } from "./view.ts";
export { errorFromWire, errorToWire, type WireError } from "./wire-error.ts";
