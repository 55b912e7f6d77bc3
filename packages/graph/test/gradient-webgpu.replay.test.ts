import { fixtureArea } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { inputsOf } from "../src/assemble.ts";
import { buildCase, difference, readOperatorCases, runNatively } from "./gradient-cases.ts";
import { webgpuEnvironment } from "./runtime/webgpu-driver.ts";

/** Cases that cannot run wholly on WebGPU, and why. */
const refused: readonly (readonly [RegExp, string])[] = [
  [/^logsoftmax|^cross_entropy_composite/, "the forward LogSoftmax, whose result the gradient reads, has no kernel"],
  [/^(sce|nll)_/, "int64 labels are compared and shaped, for which there are no kernels; int32 labels run"],
  [/^gathernd_batch/, "int64 index tuples are joined, for which there is no kernel"],
  [/^pow_(column|middle|both)$/, "the forward Pow fails in onnxruntime for these broadcasts"],
];

const folder = fixtureArea("gradients");
const driver = webgpuEnvironment();
const wanted = process.env.LOOMWEIGHT_GRADIENTS_WEBGPU === "1";

/** Why nothing runs here. */
const missing = !wanted
  ? "minutes on a software driver: LOOMWEIGHT_GRADIENTS_WEBGPU=1 runs it"
  : driver === undefined
    ? "no Vulkan driver"
    : folder === undefined
      ? "the fixtures do not hold this area"
      : undefined;

describe("recorded gradients on WebGPU alone", () => {
  if (missing !== undefined) {
    test("recorded cases", (context) => context.skip(missing));
    return;
  }
  Object.assign(process.env, driver);
  const { cases, tensors } = folder === undefined ? { cases: [], tensors: new Map() } : readOperatorCases(folder);
  for (const each of cases) {
    test(each.name, { timeout: 60_000 }, async (context) => {
      const reason = refused.find(([names]) => names.test(each.name))?.[1];
      if (reason !== undefined) return context.skip(reason);
      const built = buildCase(each, tensors, "float32");
      const results = Object.fromEntries(
        Object.entries(built.results).filter(([name, value]) => !(name in each.outputs) && "kind" in value),
      );
      if (Object.keys(results).length === 0) return context.skip("every gradient is constant");
      const inputs = inputsOf(Object.values(results));
      const feeds = Object.fromEntries(inputs.map(({ name = "" }) => [name, built.feeds[name]]));
      const found = await runNatively({ inputs, feeds, results }, each.opset, {
        executionProviders: ["webgpu"],
        extra: { session: { disable_cpu_ep_fallback: "1" } },
      });
      for (const name of Object.keys(results)) {
        // Software drivers compute sine and cosine to four digits.
        const tolerance = /sin|two_outputs/.test(each.name) ? 5e-4 : 1e-4;
        expect(difference(found[name].values, built.expected[name], "largest"), name).toBeLessThanOrEqual(tolerance);
      }
    });
  }
});
