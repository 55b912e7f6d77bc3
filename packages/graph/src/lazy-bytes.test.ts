import { bytesSource, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import { bytesOf, type DType, fromData, type Storage, type Tensor, zeros } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { bytesOfTensor } from "./codec/codes.ts";
import { createScratch, type LazyTensor, lazyFrom } from "./index.ts";

/** A tensor whose codes are all different in the low bytes; floats are finite. */
function patterned(dtype: DType, shape: readonly number[]): Tensor {
  const tensor = zeros(shape, dtype);
  const codes = bytesOf(tensor).slice();
  for (let i = 0; i < codes.length; i++) codes[i] = (i * 37 + (i >> 8)) & 0x3f;
  return fromData(
    dtype,
    new (tensor.data.constructor as never as new (buffer: ArrayBuffer) => Storage)(codes.buffer),
    shape,
  );
}

async function streamed(data: LazyTensor): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of data.stream?.() ?? []) parts.push(part.slice());
  return Buffer.concat(parts);
}

/** Compared by Buffer, not by `toEqual`, which walks megabytes element by element. */
async function sameAsRead(data: LazyTensor): Promise<boolean> {
  const bytes = await streamed(data);
  return Buffer.compare(bytes, bytesOfTensor(await data.read())) === 0;
}

const shapes = [
  [3, 5],
  [700, 1],
  [1, 700],
  [257, 1100],
  [70, 9001],
  [0, 4],
];

for (const [from, to] of [
  ["bfloat16", "float32"],
  ["bfloat16", "float16"],
  ["float16", "float32"],
  ["float32", "float32"],
  ["float32", "float16"],
  ["float64", "float32"],
  ["float64", "float64"],
  ["int8", "int8"],
  ["int64", "int64"],
] as const) {
  test(`what is streamed from ${from} to ${to} is what is read, turned or not`, async () => {
    const tensors = new Map(shapes.map((shape) => [`${shape}`, patterned(from, shape)]));
    const checkpoint = await openSafetensors(bytesSource(writeSafetensors(tensors), "model.safetensors"));
    const scratch = createScratch();
    for (const shape of shapes) {
      for (const transpose of [false, true]) {
        const data = lazyFrom(checkpoint, `${shape}`, { transpose, dtype: to, scratch });
        expect(await sameAsRead(data), `[${shape}] ${transpose}`).toBe(true);
      }
    }
  });
}

test("tensors one below the other are streamed as they are read, of one dtype or of two", async () => {
  const tensors = new Map([
    ["q", patterned("bfloat16", [300, 200])],
    ["k", patterned("bfloat16", [70, 200])],
    ["half", patterned("float16", [30, 200])],
    ["narrow", patterned("bfloat16", [30, 100])],
  ]);
  const checkpoint = await openSafetensors(bytesSource(writeSafetensors(tensors), "model.safetensors"));
  for (const transpose of [false, true]) {
    const data = lazyFrom(checkpoint, ["q", "k"], { transpose, dtype: "float32" });
    expect(data.shape).toEqual(transpose ? [200, 370] : [370, 200]);
    expect(data.origin).toEqual({
      tensors: ["q", "k"],
      transform: transpose ? "join, transpose, cast float32" : "join, cast float32",
    });
    expect(await sameAsRead(data)).toBe(true);
    const whole = await data.read();
    const part = await lazyFrom(checkpoint, "k", { transpose, dtype: "float32" }).read();
    const at = ({ data: values, stride, offset }: typeof whole, row: number, column: number) =>
      values[offset + (transpose ? column * stride[0] + row * stride[1] : row * stride[0] + column * stride[1])];
    expect(at(whole, 300 + 41, 7)).toBe(at(part, 41, 7));
    const mixed = lazyFrom(checkpoint, ["q", "half"], { transpose, dtype: "float32" });
    expect(mixed.stream).toBeUndefined();
    expect((await mixed.read()).shape).toEqual(transpose ? [200, 330] : [330, 200]);
  }
  expect(() => lazyFrom(checkpoint, ["q", "narrow"])).toThrow(/narrow.*\[30,100\]/s);
});

test("two streams at once do not disturb each other, and one that is left early gives its memory back", async () => {
  const tensors = new Map([
    ["a", patterned("bfloat16", [300, 1100])],
    ["b", patterned("float16", [900, 400])],
  ]);
  const checkpoint = await openSafetensors(bytesSource(writeSafetensors(tensors), "model.safetensors"));
  const scratch = createScratch();
  const options = { transpose: true, dtype: "float32", scratch } as const;
  const [a, b] = [lazyFrom(checkpoint, "a", options), lazyFrom(checkpoint, "b", options)];
  expect(await Promise.all([sameAsRead(a), sameAsRead(b)])).toEqual([true, true]);
  for await (const _ of a.stream?.() ?? []) break;
  expect(scratch.borrow()).toBeDefined();
});
