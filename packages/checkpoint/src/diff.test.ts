import { plainKernels } from "@loomweight/kernels";
import { fromData, type Tensor, zeros } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { bytesSource } from "./bytes-source.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { describeCheckpoint } from "./describe.ts";
import { type DiffOptions, diffCheckpoints } from "./diff.ts";
import { openSafetensors } from "./safetensors.ts";
import { tensorFromBytes } from "./tensor-bytes.ts";
import { writeSafetensors } from "./write-safetensors.ts";

const floats = (...values: number[]): Tensor => fromData("float32", new Float32Array(values), [values.length]);
const checkpointOf = (tensors: Record<string, Tensor>): Promise<Checkpoint> =>
  openSafetensors(bytesSource(writeSafetensors(new Map(Object.entries(tensors))), "a.safetensors"));
const diff = async (a: Record<string, Tensor>, b: Record<string, Tensor>, options?: DiffOptions) =>
  diffCheckpoints(await checkpointOf(a), await checkpointOf(b), options);

describe("comparing checkpoints", () => {
  test("gives the numbers of a hand calculation", async () => {
    const { tensors, equal } = await diff({ t: floats(3, 4, 0, -1) }, { t: floats(3, 1, 4, -1) });
    expect(equal).toBe(false);
    expect(tensors[0]).toMatchObject({ name: "t", elements: 4, differing: 2, nonFinite: 0, shape: [4] });
    expect(tensors[0].values?.maxAbs).toBe(4);
    expect(tensors[0].values?.relativeL2).toBeCloseTo(5 / Math.sqrt(26), 14);
    expect(tensors[0].values?.cosine).toBeCloseTo(14 / Math.sqrt(26 * 27), 14);
  });

  test("says what is missing on either side, has another shape or another dtype", async () => {
    const half = fromData("float16", new Uint16Array([0x3c00, 0x4000]), [2]);
    const result = await diff(
      { both: floats(1), left: floats(1), shape: floats(1, 2), cast: floats(1, 2) },
      { both: floats(1), right: floats(1), shape: fromData("float32", new Float32Array(2), [2, 1]), cast: half },
    );
    expect(result).toMatchObject({
      equal: false,
      onlyInA: ["left"],
      onlyInB: ["right"],
      shapes: [{ name: "shape", a: [2], b: [2, 1] }],
    });
    expect(result.tensors.map(({ name, differing, dtypes }) => [name, differing, dtypes.a, dtypes.b])).toEqual([
      ["both", 0, "float32", "float32"],
      ["cast", 0, "float32", "float16"],
    ]);
  });

  test("equal checkpoints are equal, zeros and empty tensors too", async () => {
    const tensors = {
      a: floats(1, 2),
      z: zeros([3]),
      e: zeros([0, 4]),
      s: zeros([]),
      i: zeros([2], "int64"),
      f: zeros([4], "float6_e2m3fn"),
    };
    const result = await diff(tensors, tensors);
    expect(result.equal).toBe(true);
    for (const { differing, values, name } of result.tensors) {
      expect(differing).toBe(0);
      if (name !== "f") expect(values).toEqual({ maxAbs: 0, relativeL2: 0, cosine: 1 });
    }
  });

  test("zero against something is an infinite relative difference at cosine 0", async () => {
    const { tensors } = await diff({ t: floats(0, 0) }, { t: floats(0, 2) });
    expect(tensors[0].values).toEqual({ maxAbs: 2, relativeL2: Number.POSITIVE_INFINITY, cosine: 0 });
  });

  test("what is not finite is counted and left out of the numbers", async () => {
    const { tensors } = await diff(
      { t: floats(Number.NaN, Number.NaN, Number.POSITIVE_INFINITY, 1, 5) },
      { t: floats(Number.NaN, 3, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 7) },
    );
    expect(tensors[0]).toMatchObject({
      differing: 3,
      nonFinite: 4,
      values: { maxAbs: 2, relativeL2: 2 / 5, cosine: 1 },
    });
  });

  test("integers beyond 2^53 are told apart, packed codes one by one, complex numbers as pairs", async () => {
    const wide = (...values: bigint[]) => fromData("int64", new BigInt64Array(values), [values.length]);
    const packed = (dtype: "float4_e2m1fn" | "float6_e3m2fn", ...bytes: number[]) =>
      tensorFromBytes(dtype, [4], new Uint8Array(bytes));
    const complex = (...values: number[]) => fromData("complex64", new Float32Array(values), [values.length / 2]);
    const { tensors } = await diff(
      {
        w: wide(2n ** 53n, 5n),
        p: packed("float4_e2m1fn", 0x21, 0x43),
        q: packed("float6_e3m2fn", 0, 0, 0),
        c: complex(1, 2, 3, 4),
        m: floats(1),
      },
      {
        w: wide(2n ** 53n + 1n, 5n),
        p: packed("float4_e2m1fn", 0x22, 0x43),
        q: packed("float6_e3m2fn", 0x40, 0x10, 0x80),
        c: complex(1, 5, 3, 4),
        m: complex(1, 0),
      },
    );
    const byName = new Map(tensors.map((each) => [each.name, each]));
    expect(byName.get("w")?.differing).toBe(1);
    expect(byName.get("p")).toMatchObject({ differing: 1, values: undefined });
    expect(byName.get("q")).toMatchObject({ differing: 3, values: undefined });
    expect(byName.get("c")).toMatchObject({ differing: 1, values: { maxAbs: 3 } });
    expect(byName.get("m")).toMatchObject({ differing: 1, values: undefined });
  });

  test("tiles of any size and both kernel sets give the same numbers", async () => {
    const values = Float32Array.from({ length: 10_000 }, (_, i) => Math.fround(Math.sin(i)));
    const changed = values.map((value, i) => (i % 7 === 3 ? value + 0.25 : value));
    const run = async (options: DiffOptions) =>
      (
        await diff(
          { t: fromData("float32", values, [100, 100]) },
          { t: fromData("float32", changed, [100, 100]) },
          options,
        )
      ).tensors[0];
    const whole = await run({});
    let [maxAbs, squares, norm] = [0, 0, 0];
    for (let i = 0; i < values.length; i++) {
      maxAbs = Math.max(maxAbs, Math.abs(changed[i] - values[i]));
      squares += (changed[i] - values[i]) ** 2;
      norm += values[i] ** 2;
    }
    expect(whole.differing).toBe(Math.ceil((10_000 - 3) / 7));
    expect(whole.values?.maxAbs).toBe(maxAbs);
    expect(whole.values?.relativeL2).toBeCloseTo(Math.sqrt(squares / norm), 12);
    for (const options of [{ tileBytes: 1024 }, { tileBytes: 5000 }, { kernels: plainKernels() }]) {
      const tiled = await run(options);
      expect(tiled.differing).toBe(whole.differing);
      expect(tiled.values?.maxAbs).toBe(maxAbs);
      expect(tiled.values?.relativeL2).toBeCloseTo(whole.values?.relativeL2 as number, 12);
      expect(tiled.values?.cosine).toBeCloseTo(whole.values?.cosine as number, 12);
    }
    await expect(run({ tileBytes: 10 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("chosen tensors only, with progress, until it is stopped", async () => {
    const seen: string[] = [];
    const tensors = { a: floats(1), b: floats(2), c: floats(3) };
    const result = await diff(
      tensors,
      { a: floats(1), c: floats(4) },
      { include: (name) => name !== "b", onTensor: ({ name }) => seen.push(name) },
    );
    expect(seen).toEqual(["a", "c"]);
    expect(result.onlyInA).toEqual([]);
    const stop = new AbortController();
    stop.abort();
    await expect(diff(tensors, tensors, { signal: stop.signal })).rejects.toMatchObject({ name: "AbortError" });
  });
});

test("a summary counts tensors, parameters and bytes by dtype and file", async () => {
  const checkpoint = await checkpointOf({
    a: zeros([2, 3]),
    b: zeros([10], "bfloat16"),
    s: zeros([]),
    p: zeros([4], "float4_e2m1fn"),
  });
  expect(describeCheckpoint(checkpoint)).toEqual({
    location: "a.safetensors",
    tensorCount: 4,
    parameterCount: 21,
    byteLength: 28 + 20 + 2,
    dtypes: [
      { name: "bfloat16", tensorCount: 1, parameterCount: 10, byteLength: 20 },
      { name: "float32", tensorCount: 2, parameterCount: 7, byteLength: 28 },
      { name: "float4_e2m1fn", tensorCount: 1, parameterCount: 4, byteLength: 2 },
    ],
    files: [{ name: "a.safetensors", tensorCount: 4, parameterCount: 21, byteLength: 50 }],
    metadata: { format: "pt" },
  });
});
