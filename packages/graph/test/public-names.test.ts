import { expect, test } from "vitest";
import * as everything from "../src/index.ts";
import * as onNode from "../src/node/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"abs add and apply applyOne argMax assemble attentionOps attributes averagePool batchNormalization biasGelu binaryOps cast ceil changeGraph checkModel clip concat constantOfShape contrib contribQuantizedOps conv convInteger convolutionOps cos createScratch cumSum customGradient dequantizeLinear div dtypeOfOnnx dynamicQuantizeLinear encodeOnnx equal erf evaluateTrace exp expand fastGelu findParameters findRule flatten float floatOf floats floatsOf floor foldConstants freeValues gather gatherBlockQuantized gatherElements gatherND gelu gemm generateOps globalAveragePool gradient greater greaterOrEqual groupQueryAttention identity importOnnx indexGraph indexingOps inferTypes initializer input inputsOf insertDropout instantiate int int64Vector intOf ints intsOf isGraphValue isNaN isOnnxDtype isTensor layerNormalization lazyFrom lazyTensor leakyRelu less lessOrEqual log logSoftmax logicOps matMul matMulInteger matMulNBits matmulOps max maxPool min mod mul multiHeadAttention nameMatcher named neg newestOpset node normalOpset normalizeModel normalizeOps not oldestOpset oneHot onnxNode onnxOfDtype opTables opsetOf or pad parameter parameterFrom parametersOf pow pruneUnused quantizeLinear quantizedOps quickGelu range readOnnx reciprocal redirect reduceL1 reduceL2 reduceMax reduceMean reduceMin reduceOps reduceProd reduceSum reduceSumSquare relu replaceNode reshape resize rmsNormalization rotaryEmbedding round scalarOf scatterElements scatterND scatterOps shapeOf shapeOps shapeVector sigmoid sign simplifiedLayerNormalization sin size skipSimplifiedLayerNormalization slice softmax softplus sortNodes split sqrt squeeze stateValue stopGradient sub subgraphsOf tanh tensorAttribute tensorOf text textOf texts tile topK transpose trilu unaryOps unsqueeze usedBy valuesOf where withInferredTypes withKernelMemory writeOnnx xor"`,
  );
  expect(Object.keys(onNode).sort().join(" ")).toMatchInlineSnapshot(
    `"createRuntime evaluate onnxruntimeVersion openOnnxFile openSession readOnnxFile writeOnnxFile"`,
  );
});
