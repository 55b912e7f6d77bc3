import { bytesSource, type Checkpoint, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import { createKernels, type KernelDType } from "@loomweight/kernels";
import { byteLengthOf, contiguousData, elementCount, isFloat, type Tensor } from "@loomweight/tensor";

/** Tensors as a checkpoint in memory. */
export async function memoryCheckpoint(
  tensors: ReadonlyMap<string, Tensor>,
  name = "memory.safetensors",
): Promise<Checkpoint> {
  return openSafetensors(bytesSource(writeSafetensors(tensors), name));
}

/** Floating-point tensors rounded to a dtype. */
export function castAll(
  tensors: ReadonlyMap<string, Tensor>,
  dtype: "float32" | "bfloat16" | "float16",
): Map<string, Tensor> {
  const out = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) {
    out.set(
      name,
      isFloat(tensor.dtype) && tensor.dtype !== dtype ? fromValues(valuesOf(tensor), dtype, tensor.shape) : tensor,
    );
  }
  return out;
}

/** Codes of values, each rounded once. */
export function fromValues(
  values: Float64Array,
  dtype: "float32" | "bfloat16" | "float16",
  shape: readonly number[],
): Tensor {
  const kernels = createKernels({ bytes: values.length * 16 + 4096 });
  const held = kernels.allocateValues(values.length);
  held.set(values);
  const codes = kernels.allocate(byteLengthOf(dtype, values.length));
  kernels.store(dtype, codes, held);
  const bytes = codes.slice();
  const data = dtype === "float32" ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
  const stride = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
  return { dtype, data, shape, stride, offset: 0 } as Tensor;
}

/** Values of a floating-point tensor, row-major. */
export function valuesOf(tensor: Tensor): Float64Array {
  const codes = contiguousData(tensor) as Float32Array;
  const count = elementCount(tensor.shape);
  const kernels = createKernels({ bytes: count * 16 + 4096 });
  const block = kernels.allocate(byteLengthOf(tensor.dtype, count));
  block.set(new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength));
  const values = kernels.allocateValues(count);
  kernels.load(values, tensor.dtype as KernelDType, block);
  return values.slice();
}
