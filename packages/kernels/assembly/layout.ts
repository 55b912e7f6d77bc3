// Fixed places in the first seven pages of the memory. src/layout.ts says the same to JavaScript.

/** 256 float64 values each: what a code of the 8-bit floats means. Filled by JavaScript. */
export const E4M3_VALUES: usize = 0;
export const E5M2_VALUES: usize = 2048;
export const E8M0_VALUES: usize = 4096;
/** Pointers (u32) and weights (f64) of the inputs of a call with a list. */
export const LIST_POINTERS: usize = 8192;
export const LIST_WEIGHTS: usize = 12288;
/** 2048 float64 values. */
export const VALUES: usize = 24576;
export const VALUES_LENGTH: i32 = 2048;
/** Packed panels of gemm: 64 x 256 and 256 x 128 float64. */
export const PANEL_A: usize = 65536;
export const PANEL_B: usize = 196608;
