import { join } from "node:path";
import { openOnnxFile } from "@loomweight/graph/node";
import { describe } from "vitest";
import { type DynamicOptions, quantizeDynamic } from "../src/index.ts";
import { expectInitializers, expectNodes, expectOutput, recordedSet, runInThread, testCases } from "./recorded.ts";

/** `quantize_dynamic(weight_type=QInt8, per_channel=False, …, extra_options={…})` as options of ours. */
function optionsOf(call: string): DynamicOptions {
  const symmetric = /'WeightSymmetric': (True|False)/.exec(call);
  return {
    weightType: /weight_type=QInt8/.test(call) ? "int8" : "uint8",
    perChannel: /per_channel=True/.test(call),
    reduceRange: /reduce_range=True/.test(call),
    ...(symmetric && { weightSymmetric: symmetric[1] === "True" }),
  };
}

describe("dynamic int8", () => {
  const set = recordedSet("dynamic");
  testCases(set, async (recorded) => {
    const opened = await openOnnxFile(join(set.folder, recorded.model as string));
    const model = quantizeDynamic(opened.model, optionsOf(recorded.call as string));
    expectNodes(model, recorded.nodes);
    await expectInitializers(model, recorded.initializers, set.tensor);
    const x = set.tensor(recorded.x as string);
    expectOutput(await runInThread(model, { x }), set.tensor(recorded.output as string), 1e-2);
    await opened.close();
  });
});
