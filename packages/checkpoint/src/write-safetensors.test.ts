import { allocate, type LoomweightError, type Tensor, zeros } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { anyMetadata, anyTensors } from "../test/arbitrary-tensors.ts";
import { bytesSource } from "./bytes-source.ts";
import { planSafetensors } from "./plan.ts";
import { openSafetensors } from "./safetensors.ts";
import { tensorBytes } from "./tensor-bytes.ts";
import { plannedTensors, streamSafetensors, writeSafetensors } from "./write-safetensors.ts";

test("whatever is written is read back: names, dtypes, shapes, bytes and metadata", async () => {
  await fc.assert(
    fc.asyncProperty(anyTensors, anyMetadata, async (tensors, metadata) => {
      const checkpoint = await openSafetensors(bytesSource(writeSafetensors(tensors, { metadata }), "a"));
      expect([...checkpoint.tensors.keys()].sort()).toEqual([...tensors.keys()].sort());
      expect(Object.entries(checkpoint.metadata)).toEqual(Object.entries(metadata));
      for (const [name, tensor] of tensors) {
        const back = await checkpoint.read(name);
        expect(back.dtype).toBe(tensor.dtype);
        expect(back.shape).toEqual(tensor.shape);
        expect(tensorBytes(back)).toEqual(tensorBytes(tensor));
      }
    }),
    { numRuns: 300 },
  );
});

test("the order in which tensors are given does not change a byte", () => {
  fc.assert(
    fc.property(anyTensors, (tensors) => {
      expect(writeSafetensors(new Map([...tensors].reverse()))).toEqual(writeSafetensors(tensors));
    }),
  );
});

test("data begins at a multiple of eight bytes and every tensor lies aligned to its elements", () => {
  fc.assert(
    fc.property(anyTensors, (tensors) => {
      const plan = planSafetensors(plannedTensors(tensors));
      expect(plan.files[0].header.length % 8).toBe(0);
      for (const [name, { position }] of plan.tensors) {
        const data = tensors.get(name)?.data as unknown as { BYTES_PER_ELEMENT: number };
        expect(position % data.BYTES_PER_ELEMENT).toBe(0);
      }
    }),
  );
});

test("a strided view is written row by row", async () => {
  const data = new Float32Array([9, 1, 2, 3, 4, 5, 6]);
  const transposed: Tensor = { dtype: "float32", data, shape: [3, 2], stride: [1, 3], offset: 1 };
  const checkpoint = await openSafetensors(bytesSource(writeSafetensors(new Map([["t", transposed]])), "a"));
  expect((await checkpoint.read("t")).data).toEqual(new Float32Array([1, 4, 2, 5, 3, 6]));
});

test("what safetensors cannot hold is refused by name", () => {
  const code = (run: () => unknown) => {
    try {
      run();
    } catch (error) {
      return (error as LoomweightError).code;
    }
    return undefined;
  };
  const int4: Tensor = { dtype: "int4", data: allocate("int4", 2), shape: [2], stride: [1], offset: 0 };
  expect(code(() => writeSafetensors(new Map([["t", int4]])))).toBe("UNSUPPORTED_DTYPE");
  expect(code(() => writeSafetensors(new Map([["__metadata__", zeros([1])]])))).toBe("INVALID_NAME");
  expect(code(() => writeSafetensors(new Map([["\ud800", zeros([1])]])))).toBe("INVALID_NAME");
  expect(code(() => writeSafetensors(new Map(), { metadata: { k: 1 as unknown as string } }))).toBe("INVALID_METADATA");
});

/** A stream that collects what it is given. */
function collector() {
  const pieces: number[] = [];
  let aborted: unknown;
  const stream = new WritableStream<Uint8Array>({
    write(piece) {
      pieces.push(...piece);
    },
    abort(reason) {
      aborted = reason;
    },
  });
  return { stream, bytes: () => new Uint8Array(pieces), aborted: () => aborted };
}

test("streaming gives the bytes of writing, whole or in pieces", async () => {
  await fc.assert(
    fc.asyncProperty(anyTensors, async (tensors) => {
      const plan = planSafetensors(plannedTensors(tensors));
      const { stream, bytes } = collector();
      const read = (name: string) => {
        const all = tensorBytes(tensors.get(name) as Tensor);
        return all.length % 2 === 0 ? all : [all.subarray(0, 1), all.subarray(1)];
      };
      await streamSafetensors(plan, 0, read, stream);
      expect(bytes()).toEqual(writeSafetensors(tensors));
    }),
    { numRuns: 50 },
  );
});

test("a stream is aborted when a tensor gives too few or too many bytes, or reading fails", async () => {
  const plan = planSafetensors([{ name: "t", dtype: "float32", shape: [2] }]);
  for (const length of [0, 7, 9]) {
    const { stream, aborted } = collector();
    await expect(streamSafetensors(plan, 0, () => new Uint8Array(length), stream)).rejects.toMatchObject({
      code: "SIZE_MISMATCH",
    });
    expect(aborted()).toMatchObject({ code: "SIZE_MISMATCH" });
  }
  const { stream, aborted } = collector();
  const failure = new Error("disk gone");
  await expect(streamSafetensors(plan, 0, () => Promise.reject(failure), stream)).rejects.toBe(failure);
  expect(aborted()).toBe(failure);
});
