export { createRuntime, type WebRuntimeOptions } from "./runtime.ts";
export { type ServeRuntimeOptions, serveRuntime } from "./serve-runtime.ts";
