/**
 * Operators with a kernel for CUDA, by domain, and the dtypes of their floats: as onnxruntime's list of kernels states them
 * (docs/OperatorKernels.md), of the operators that graphs are fused into. Nothing here was run.
 */
export const cudaKernels: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "": {
    SimplifiedLayerNormalization: "float32 float64 float16 bfloat16",
  },
  "com.microsoft": {
    BiasGelu: "float32 float64 float16 bfloat16",
    FastGelu: "float32 float16 bfloat16",
    GatherBlockQuantized: "float32 float16 bfloat16",
    // without attention_bias until 2026: older releases fail as soon as one is given
    GroupQueryAttention: "float16~ bfloat16~",
    MatMulBnb4: "float32 float16 bfloat16",
    MatMulNBits: "float32 float16 bfloat16",
    MultiHeadAttention: "float32 float16 bfloat16",
    QuickGelu: "float32 float64 float16 bfloat16",
    RotaryEmbedding: "float32 float16 bfloat16",
    SkipLayerNormalization: "float32 float16 bfloat16",
    SkipSimplifiedLayerNormalization: "float32 float16 bfloat16",
  },
};
