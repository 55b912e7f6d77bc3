export * from "./elementwise";
export * from "./gemm";
export * from "./load";
export * from "./random";
export * from "./reduce";
export * from "./store";
export * from "./strided";
