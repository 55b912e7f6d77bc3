/** Where the WebAssembly module keeps what is its own: assembly/layout.ts says the same. Bytes from the start. */
export const layout = {
  e4m3Values: 0,
  e5m2Values: 2048,
  e8m0Values: 4096,
  listPointers: 8192,
  listWeights: 12288,
  /** Blocks of the user start here. */
  user: 458752,
} as const;

/** Most inputs that a kernel with a list takes. */
export const listLimit = 1024;
