import type { Tensor } from "@loomweight/tensor";
import { assemble, inputsOf } from "../assemble.ts";
import { encodeOnnx } from "../codec/write-onnx.ts";
import type { Value } from "../value.ts";
import { openSession, type SessionOptions } from "./session.ts";

/**
 * Values of a trace, computed once by onnxruntime: the graph behind them is assembled, loaded, run with `feeds` (by
 * input name) and freed. Throws what `assemble`, `openSession` and `Session.run` throw.
 */
export async function evaluate(
  outputs: Readonly<Record<string, Value>>,
  feeds: Readonly<Record<string, Tensor>> = {},
  options: SessionOptions = {},
): Promise<Record<string, Tensor>> {
  const model = assemble({ name: "evaluate", inputs: inputsOf(Object.values(outputs)), outputs });
  const session = await openSession(await encodeOnnx(model), options);
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}
