import { describe } from "vitest";
import { recordedSet, testCases } from "./recorded.ts";

/** Sets whose algorithms this package does not have: shown as skipped, never silently left out. */
const missing = {
  matmul_algorithms: "RTN, k-quant, HQQ and GPTQ of weights are not part of this package",
  gptq: "GPTQ is not part of this package",
  static: "static quantization with calibration is not part of this package",
} as const;

describe.each(Object.entries(missing))("%s", (name, reason) => {
  testCases(recordedSet(name), (_, context) => context.skip(reason));
});
