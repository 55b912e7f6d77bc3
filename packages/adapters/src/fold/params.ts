import type { TensorInfo } from "@loomweight/checkpoint";
import type { KernelDType } from "@loomweight/kernels";
import { elementCount, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { paramShape } from "../define.ts";
import type { Codec } from "./codes.ts";
import type { FoldStep } from "./plan.ts";

export type LoadedParams = Readonly<Record<string, Tensor>>;

/** Reads a module's parameters as float64 in their own shapes. Throws `NON_FINITE` naming the tensor. */
export async function loadParams(step: FoldStep, codec: Codec, signal?: AbortSignal): Promise<LoadedParams> {
  const entries = await Promise.all(
    Object.entries(step.shapes).map(async ([param, shape]) => {
      const info = step.module.params.get(param) as TensorInfo;
      const bytes = await step.adapter.checkpoint.readBytes(info.name, { signal });
      const values = new Float64Array(elementCount(info.shape));
      codec.load(values, info.dtype as KernelDType, bytes);
      checkFinite(values, info);
      return [param, fromData("float64", values, paramShape(shape, step.layer))] as const;
    }),
  );
  return Object.fromEntries(entries);
}

function checkFinite(values: Float64Array, info: TensorInfo): void {
  let bad = 0;
  while (bad < values.length && Number.isFinite(values[bad])) bad++;
  if (bad === values.length) return;
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: "the adapter holds a value that is not a finite number",
    file: info.file,
    tensor: info.name,
    found: `${values[bad]} at element ${bad}`,
    fix: "Its training diverged, or the file is damaged.",
  });
}
