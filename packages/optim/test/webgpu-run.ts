import { createRuntime } from "@loomweight/graph/node";
import { runAllOptimizers } from "./webgpu-cases.ts";

// A process of its own: the driver is chosen by variables that must stand before it starts. No fallback to the CPU: a
// node that the provider lacks is an error.
const runtime = await createRuntime({
  providers: ["webgpu"],
  sessionOptions: { extra: { session: { disable_cpu_ep_fallback: "1" } } },
});
const results = await runAllOptimizers(runtime);
await runtime.close();
console.log(JSON.stringify(results));
