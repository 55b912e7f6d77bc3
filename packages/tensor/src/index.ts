export * from "./dtype.ts";
export * from "./errors.ts";
export * from "./options.ts";
export * from "./tensor.ts";
