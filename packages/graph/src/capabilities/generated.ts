// Written by scripts/capabilities/run.ts: onnxruntime 1.30.0; WebGPU on Chromium's software driver, without fallback to the CPU.
import type { CapabilityTable } from "./capabilities.ts";

export const capabilities: CapabilityTable = {
  "": {
    Add: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Sub: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Mul: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Div: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Pow: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32~ int32~",
    },
    Mod: {
      cpu: "float32 float64 float16 int32~ int64~ uint32~ uint8~ int8~",
      wasm: "float32 float64 float16 int32~ int64~ uint32~ uint8~ int8~",
      webgpu: "",
    },
    Min: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Max: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Neg: {
      cpu: "float32 float64 float16 int32 int64 int8",
      wasm: "float32 float64 float16 int32 int64 int8",
      webgpu: "float32",
    },
    Abs: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32",
    },
    Sign: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8",
      webgpu: "",
    },
    Sqrt: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Exp: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Log: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Tanh: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Sigmoid: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Erf: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Relu: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    LeakyRelu: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Elu: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Softplus: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    HardSigmoid: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    HardSwish: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Gelu: {
      cpu: "float32 float64~ float16",
      wasm: "float32 float64~ float16",
      webgpu: "float32",
    },
    Reciprocal: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Sin: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Cos: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Floor: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Ceil: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    Round: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    Identity: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Clip: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Acos: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Acosh: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Asin: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Asinh: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Atan: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Atanh: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Cosh: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Sinh: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Tan: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Celu: {
      cpu: "float32",
      wasm: "float32",
      webgpu: "",
    },
    Selu: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    Mish: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Softsign: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    Swish: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    ThresholdedRelu: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    PRelu: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Sum: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    Mean: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    Equal: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Greater: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    GreaterOrEqual: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Less: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    LessOrEqual: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    And: {
      cpu: "bool",
      wasm: "bool",
      webgpu: "bool",
    },
    Or: {
      cpu: "bool",
      wasm: "bool",
      webgpu: "",
    },
    Xor: {
      cpu: "bool",
      wasm: "bool",
      webgpu: "",
    },
    Not: {
      cpu: "bool",
      wasm: "bool",
      webgpu: "bool",
    },
    IsNaN: {
      cpu: "float32 float64 float16 bfloat16",
      wasm: "float32 float64 float16 bfloat16",
      webgpu: "",
    },
    Where: {
      cpu: "float32 float64 float16 int32 int64 uint8",
      wasm: "float32 float64 float16 int32 int64 uint8",
      webgpu: "float32 int32 uint32",
    },
    Cast: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32~ int32~ uint32~ uint8~ bool~",
    },
    Reshape: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32 uint8 bool",
    },
    Squeeze: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Unsqueeze: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32 bool",
    },
    Flatten: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32 bool",
    },
    Transpose: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Expand: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32 uint8~ bool",
    },
    Concat: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Split: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Tile: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Shape: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Size: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "",
    },
    Slice: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32",
    },
    Gather: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32 uint8 bool",
    },
    GatherElements: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32",
    },
    GatherND: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    ScatterND: {
      cpu: "float32 float64 float16~ bfloat16~ int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16~ bfloat16~ int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    Pad: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    ScatterElements: {
      cpu: "float32 float64 float16~ bfloat16~ int32 int64 uint32 uint8 int8 bool~",
      wasm: "float32 float64 float16~ bfloat16~ int32 int64 uint32 uint8 int8 bool~",
      webgpu: "float32 int32 uint32",
    },
    ConstantOfShape: {
      cpu: "int64",
      wasm: "int64",
      webgpu: "",
    },
    Range: {
      cpu: "float32 float64 int32~ int64~",
      wasm: "float32 float64 int32~ int64~",
      webgpu: "float32 int32",
    },
    Trilu: {
      cpu: "float32 float64 float16 int32 int64 bool",
      wasm: "float32 float64 float16 int32 int64 bool",
      webgpu: "float32 int32 uint32",
    },
    OneHot: {
      cpu: "float32 float16 int64",
      wasm: "float32 float16 int64",
      webgpu: "",
    },
    ReduceSum: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32 int32 uint32",
    },
    ReduceMean: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32 int32 uint32",
    },
    ReduceProd: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32 int32 uint32",
    },
    ReduceMax: {
      cpu: "float32 float64 float16 int32 int64 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    ReduceMin: {
      cpu: "float32 float64 float16 int32 int64 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint8 int8 bool",
      webgpu: "float32 int32 uint32",
    },
    ReduceL1: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32~ int32~ uint32",
    },
    ReduceL2: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32~ int32~ uint32",
    },
    ReduceSumSquare: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32~ int32~ uint32",
    },
    ReduceLogSum: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32 int32~ uint32",
    },
    ReduceLogSumExp: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32 int32~ uint32",
    },
    ArgMax: {
      cpu: "float32 float64 float16 int32 int64 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    ArgMin: {
      cpu: "float32 float64 float16 int32 int64 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint8 int8",
      webgpu: "float32 int32 uint32",
    },
    Softmax: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    LogSoftmax: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    CumSum: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "float32 int32 uint32~",
    },
    TopK: {
      cpu: "float32 float64 float16 int32 int64 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint8 int8",
      webgpu: "float32",
    },
    MatMul: {
      cpu: "float32 float64 float16 int32 int64 uint32",
      wasm: "float32 float64 float16 int32 int64 uint32",
      webgpu: "float32",
    },
    Gemm: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    LayerNormalization: {
      cpu: "float32 float64 float16 bfloat16",
      wasm: "float32 float64 float16 bfloat16",
      webgpu: "float32",
    },
    SimplifiedLayerNormalization: {
      cpu: "float32 float64 float16 bfloat16",
      wasm: "float32 float64 float16 bfloat16",
      webgpu: "float32",
    },
    RMSNormalization: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    BatchNormalization: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16~",
      webgpu: "float32~",
    },
    GroupNormalization: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    InstanceNormalization: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    LpNormalization: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    LRN: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    NegativeLogLikelihoodLoss: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    SoftmaxCrossEntropyLoss: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    LSTM: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    GRU: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    RNN: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    Attention: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    RotaryEmbedding: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Einsum: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    DepthToSpace: {
      cpu: "float32 float64 float16 uint8 int8",
      wasm: "float32 float64 float16 uint8 int8",
      webgpu: "float32",
    },
    SpaceToDepth: {
      cpu: "float32 float64 float16 uint8 int8",
      wasm: "float32 float64 float16 uint8 int8",
      webgpu: "",
    },
    Conv: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    ConvTranspose: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32~",
    },
    MaxPool: {
      cpu: "float32 float64 float16 uint8 int8",
      wasm: "float32 float64 float16 uint8 int8",
      webgpu: "float32",
    },
    AveragePool: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    GlobalAveragePool: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    GlobalMaxPool: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    Resize: {
      cpu: "float32 float16~ int32~ uint8~ int8~",
      wasm: "float32 float16~ int32~ uint8~ int8~",
      webgpu: "float32 int32~ uint32~",
    },
    QuantizeLinear: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    DequantizeLinear: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    DynamicQuantizeLinear: {
      cpu: "float32",
      wasm: "float32",
      webgpu: "",
    },
    MatMulInteger: {
      cpu: "uint8 int8",
      wasm: "uint8 int8",
      webgpu: "",
    },
    ConvInteger: {
      cpu: "uint8 int8",
      wasm: "uint8 int8",
      webgpu: "",
    },
    BitwiseAnd: {
      cpu: "int32 int64 uint32 uint8 int8",
      wasm: "int32 int64 uint32 uint8 int8",
      webgpu: "",
    },
    BitwiseOr: {
      cpu: "int32 int64 uint32 uint8 int8",
      wasm: "int32 int64 uint32 uint8 int8",
      webgpu: "",
    },
    BitwiseXor: {
      cpu: "int32 int64 uint32 uint8 int8",
      wasm: "int32 int64 uint32 uint8 int8",
      webgpu: "",
    },
    BitwiseNot: {
      cpu: "int32 int64 uint32 uint8 int8",
      wasm: "int32 int64 uint32 uint8 int8",
      webgpu: "",
    },
    BitShift: {
      cpu: "uint32 uint8",
      wasm: "uint32 uint8",
      webgpu: "",
    },
    CastLike: {
      cpu: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 bfloat16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "float32 int32 uint32 uint8 bool",
    },
    Dropout: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    EyeLike: {
      cpu: "float32 float64 float16 int32 int64",
      wasm: "float32 float64 float16 int32 int64",
      webgpu: "",
    },
    Compress: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "",
    },
    ReverseSequence: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "",
    },
    Hardmax: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    Shrink: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8",
      wasm: "float32 float64 float16 int32 int64 uint8 int8",
      webgpu: "",
    },
    IsInf: {
      cpu: "float32 float64 float16 bfloat16",
      wasm: "float32 float64 float16 bfloat16",
      webgpu: "",
    },
    MeanVarianceNormalization: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    Det: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    HannWindow: {
      cpu: "int32 int64",
      wasm: "int32 int64",
      webgpu: "",
    },
    HammingWindow: {
      cpu: "int32 int64",
      wasm: "int32 int64",
      webgpu: "",
    },
    BlackmanWindow: {
      cpu: "int32 int64",
      wasm: "int32 int64",
      webgpu: "",
    },
    MelWeightMatrix: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    DFT: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    STFT: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    LpPool: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    GlobalLpPool: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    MaxUnpool: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    MaxRoiPool: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    RoiAlign: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    DeformConv: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    GridSample: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    AffineGrid: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    Col2Im: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    CenterCropPad: {
      cpu: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      wasm: "float32 float64 float16 int32 int64 uint32 uint8 int8 bool",
      webgpu: "",
    },
    QLinearMatMul: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "",
    },
    QLinearConv: {
      cpu: "float32",
      wasm: "float32",
      webgpu: "",
    },
  },
  "com.microsoft": {
    QuickGelu: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    FastGelu: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "float32",
    },
    BiasGelu: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    SkipSimplifiedLayerNormalization: {
      cpu: "float32 float16 bfloat16",
      wasm: "float32 float16 bfloat16",
      webgpu: "float32",
    },
    SkipLayerNormalization: {
      cpu: "float32 float16 bfloat16",
      wasm: "float32 float16 bfloat16",
      webgpu: "float32",
    },
    RotaryEmbedding: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    GroupQueryAttention: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    MultiHeadAttention: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    FusedMatMul: {
      cpu: "float32 float64 float16",
      wasm: "float32 float64 float16",
      webgpu: "",
    },
    MatMulNBits: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    MatMulBnb4: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
    GatherBlockQuantized: {
      cpu: "float32 float16",
      wasm: "float32 float16",
      webgpu: "float32",
    },
  },
};
