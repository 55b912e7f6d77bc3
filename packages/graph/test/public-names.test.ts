import { expect, test } from "vitest";
import * as everything from "../src/index.ts";
import * as layers from "../src/nn/index.ts";
import * as onNode from "../src/node/index.ts";
import * as training from "../src/training/index.ts";
import * as inPages from "../src/web/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"abs acos acosh activationOps add and apply applyOne argMax asin asinh assemble atan atanh attention attentionOps attributes averagePool batchNormalization biasGelu binaryOps cast ceil celu changeGraph checkModel checkpoint choose clip concat constantOfShape contrib contribQuantizedOps conv convInteger convTranspose convolutionOps cos cosh createScratch cumSum customGradient depthToSpace dequantizeLinear div dtypeOfOnnx dynamicQuantizeLinear einsum einsumOps encodeOnnx equal erf evaluateTrace exp expand fastGelu findParameters findRule flatten float floatOf floats floatsOf floor foldConstants freeValues fusedMatMul gather gatherBlockQuantized gatherElements gatherND gelu gemm generateOps globalAveragePool globalMaxPool gradient greater greaterOrEqual groupNormalization groupNormalizeOps groupQueryAttention gru hasKernel honoursInput identity importOnnx indexGraph indexingOps inferAllTypes inferTypes initializer input inputsOf insertDropout instanceNormalization instantiate int int64Vector intOf ints intsOf isGraphValue isNaN isOnnxDtype isTensor layerNormalization lazyFrom lazyTensor leakyRelu less lessOrEqual liftConstants log logSoftmax logicOps lossOps lpNormalization lstm matMul matMulInteger matMulNBits matmulOps max maxPool mean min mish mod mul multiHeadAttention nameMatcher named neg negativeLogLikelihoodLoss newestOpset node normalOpset normalizeModel normalizeOps not oldestOpset oneHot onnxNode onnxOfDtype opTables opsetOf or pad parameter parameterFrom parametersOf pow prelu providersOf pruneUnused quantizeLinear quantizedOps quickGelu range readOnnx rearrangeOps reciprocal recompute recurrentOps redirect reduceL1 reduceL2 reduceLogSum reduceLogSumExp reduceMax reduceMean reduceMin reduceOps reduceProd reduceSum reduceSumSquare relu replaceNode reshape resize rmsNormalization rotaryEmbedding round scalarOf scaledAttentionOps scatterElements scatterND scatterOps seluSlopes shapeOf shapeOps shapeVector sigmoid sign simplifiedLayerNormalization sin sinh size skipSimplifiedLayerNormalization slice softmax softmaxCrossEntropyLoss softplus softsign sortNodes spaceToDepth split sqrt squeeze stateValue stopGradient sub subgraphsOf sumOps swish tan tanh tensorAttribute tensorOf text textOf texts thresholdedRelu tile topK transpose trilu unaryOps unsqueeze usedBy valuesOf where withInferredTypes withKernelMemory writeOnnx xor"`,
  );
  expect(Object.keys(onNode).sort().join(" ")).toMatchInlineSnapshot(
    `"createRuntime createWriterPool evaluate externalFiles onnxruntimeVersion openOnnxFile openSession readOnnxFile saveTraining serveWriting workerUrl writeOnnxFile"`,
  );
  expect(Object.keys(layers).sort().join(" ")).toMatchInlineSnapshot(
    `"accuracy attention batchNorm binaryCrossEntropy causalMask convolution crossEntropy dotProductAttention dropout embedding gatedMlp groupNorm gru huber initConvolution initEmbedding initLinear initNorm initRecurrent initRunningStatistics layerNorm linear linearCrossEntropy linearOf lstm meanAbsoluteError meanSquaredError mlp multiheadAttention parameterName parameterOf rmsNorm ropeTables rotate silu"`,
  );
  expect(Object.keys(training).sort().join(" ")).toMatchInlineSnapshot(
    `"clipByNorm clipByValue createRandomInputs drawInputs globalNorm progressLine train"`,
  );
  expect(Object.keys(inPages).sort().join(" ")).toMatchInlineSnapshot(`"createRuntime serveRuntime"`);
});
