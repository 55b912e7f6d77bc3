import type { Runtime } from "@loomweight/graph";
import { fromFloat64, type Random, type Tensor, toFloat64 } from "@loomweight/tensor";
import { adapt, bnAdapt, cotta, decodeState, encodeState, openGraphClassifier, tent } from "../src/index.ts";
import { normals, smallModel } from "./networks.ts";

const noisy = (x: Tensor, random: Random) => {
  const noise = new Float64Array(toFloat64(x).length);
  random.normalsInto(noise, { deviation: 0.3 });
  return fromFloat64(
    toFloat64(x).map((value, i) => value + noise[i]),
    x.shape,
    "float32",
  );
};

/** Probabilities of the last of four batches by each method, on any runtime; TENT goes through a saved state on its way. */
export async function adaptedStream(runtime: Runtime): Promise<Record<string, number[]>> {
  const model = await openGraphClassifier(smallModel(3, "batch", "float32"), { runtime });
  const stream = [1, 2, 3, 4].map((seed) => normals(seed, [6, 4], "float32"));
  const found: Record<string, number[]> = {};
  const note = (name: string, probabilities: Tensor) => {
    found[name] = [...toFloat64(probabilities)];
  };
  const running = await adapt(bnAdapt, model, { mode: "running" });
  for (const x of stream) note("bn-adapt", (await running.step(x)).probabilities);
  const first = await adapt(tent, model, { learningRate: 0.01 });
  for (const x of stream.slice(0, 2)) await first.step(x);
  const state = (await decodeState(encodeState(first.state))) as typeof first.state;
  const second = await adapt(tent, model, { learningRate: 0.01, state });
  for (const x of stream.slice(2)) note("tent", (await second.step(x)).probabilities);
  const taught = await adapt(cotta, model, { augment: noisy, augmentations: 3, learningRate: 0.01, seed: 5 });
  for (const x of stream) note("cotta", (await taught.step(x)).probabilities);
  await model.close();
  return found;
}
