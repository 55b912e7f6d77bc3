import { join } from "node:path";
import { fixtureArea, fixtureCases, readFixtureJson } from "@loomweight/fixtures";
import { encodeOnnx, type OnnxModel } from "@loomweight/graph";
import { openSession } from "@loomweight/graph/node";
import { describe, test } from "vitest";
import { webgpuEnvironment } from "../../graph/test/runtime/webgpu-driver.ts";
import { type Expected, replayArchitecture } from "./replay-architecture.ts";

const area = fixtureArea("architectures");
const driver = webgpuEnvironment();

/** Why nothing runs here. */
const missing =
  process.env.LOOMWEIGHT_ARCHITECTURES_WEBGPU !== "1"
    ? "minutes on a software driver: LOOMWEIGHT_ARCHITECTURES_WEBGPU=1 runs it"
    : driver === undefined
      ? "no Vulkan driver"
      : area === undefined
        ? "the fixtures do not hold this area"
        : undefined;

/** A session in which nothing may fall back to the CPU. */
async function onGpuAlone(model: OnnxModel) {
  const sessionOptions = { extra: { session: { disable_cpu_ep_fallback: "1" } } };
  return openSession(await encodeOnnx(model), { providers: ["webgpu"], sessionOptions });
}

describe("architectures on WebGPU alone", () => {
  if (missing !== undefined) {
    test("recorded architectures", (context) => context.skip(missing));
    return;
  }
  Object.assign(process.env, driver);
  for (const name of fixtureCases("architectures", { marker: "expected.json" })) {
    const folder = join(area ?? "", name);
    const expected = readFixtureJson<Expected>(join(folder, "expected.json"));
    for (const fuse of ["none", "onnxruntime"] as const) {
      const way = { build: { fuse, devices: ["webgpu"] as const }, open: onGpuAlone };
      test(`${name}: ${expected.kind} outputs with fuse ${fuse}`, { timeout: 120_000 }, () =>
        replayArchitecture(folder, expected, way),
      );
    }
  }
});
