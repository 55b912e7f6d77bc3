import { cast, contiguousData, createRandom, fromData, normal, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { type EvaLayer, evaDirections } from "./eva-directions.ts";

const layers: readonly EvaLayer[] = [
  { path: "q", in: 4, rank: 1 },
  { path: "k", in: 4, rank: 1 },
  { path: "o", in: 4, rank: 1 },
];
const rows = (seed: number, sizes: readonly number[], count = 40): Tensor => {
  const drawn = normal([count, 4], createRandom(seed, "rows"), { deviation: 1 });
  const data = Float32Array.from(contiguousData(drawn) as Float32Array, (value, i) => value * sizes[i % 4]);
  return fromData("float32", data, [count, 4]);
};
/** q and k read one input, two directions of which matter; o has one. */
function model(asked: string[][]) {
  return async (seed: number, wanted: ReadonlySet<string>) => {
    asked.push([...wanted]);
    const [shared, own] = [rows(seed, [3, 2, 0.1, 0.1]), rows(seed + 100, [0.1, 0.1, 5, 0.1])];
    return new Map<string, Tensor>([
      ["q", shared],
      ["k", cast(shared, "float32")],
      ["o", own],
    ]);
  };
}
const entries = (tensor: unknown) => Array.from(contiguousData(tensor as Tensor) as Float64Array);

test("layers of one input are one; who has settled is not asked again; then it ends", async () => {
  const asked: string[][] = [];
  const found = await evaDirections(layers, model(asked), () => [1, 2, 3, 4, 5, 6, 7, 8]);
  expect(Object.fromEntries(found.owners)).toEqual({ q: "q", k: "q", o: "o" });
  expect(found.directions.get("k")).toBe(found.directions.get("q"));
  expect(asked[0]).toEqual(["q", "k", "o"]);
  expect(asked[1]).toEqual(["q", "o"]); // nothing is settled after one batch
  expect(asked.slice(2)).toEqual(asked.slice(2).map(() => ["q"])); // o's one direction stands still, q's two do not yet
  expect(found.unsettled).toEqual([]);
  expect(found.batches).toBe(asked.length);
  const [first] = entries(found.directions.get("o")?.components);
  expect(Math.abs(first)).toBeLessThan(0.1);
  expect(entries(found.directions.get("o")?.components)[2]).toBeGreaterThan(0.99);
});

test("one batch is read again until its directions have settled", async () => {
  const asked: string[][] = [];
  let passes = 0;
  const found = await evaDirections(layers, model(asked), () => {
    passes++;
    return [1];
  });
  expect([passes, found.batches, asked.length]).toEqual([2, 2, 2]);
});

test("a layer that gains a rank it has not settled is asked for again", async () => {
  /** Rows ± size along each named axis of [width]. */
  const along = (width: number, sizes: Readonly<Record<number, number>>) => {
    const data = Object.entries(sizes).flatMap(([axis, size]) =>
      [size, -size].flatMap((value) => Array.from({ length: width }, (_, j) => (j === Number(axis) ? value : 0))),
    );
    return fromData("float32", Float32Array.from(data), [data.length / width, width]);
  };
  const everyAxis = Object.fromEntries(Array.from({ length: 8 }, (_, axis) => [axis, 30]));
  const batches = [
    { a: along(4, { 0: 3, 1: 2 }), b: along(8, { 0: 3, 1: 2 }) },
    { a: along(4, { 0: 3, 2: 2.2 }), b: along(8, { 1: 4 }) }, // a's first direction stays, its second and b's first move
    { a: along(4, { 0: 3 }), b: along(8, everyAxis) }, // b's directions explain an eighth each: a's second gets the rank
    { a: along(4, { 0: 3, 2: 2.2 }), b: along(8, { 0: 1 }) },
  ];
  const asked: string[][] = [];
  const found = await evaDirections(
    [
      { path: "a", in: 4, rank: 1 },
      { path: "b", in: 8, rank: 1 },
    ],
    async (batch: (typeof batches)[number], wanted) => {
      asked.push([...wanted]);
      return new Map<string, Tensor>(Object.entries(batch));
    },
    () => batches,
  );
  expect(asked).toEqual([["a", "b"], ["a", "b"], ["b"], ["a"]]);
  expect([found.batches, found.unsettled]).toEqual([4, []]);
});

test("maxBatches ends a look that does not settle, and says for which layers", async () => {
  let seed = 0;
  const inputs = async () => new Map([["a", rows(++seed, [1, 1, 1, 1], 8)]]);
  const found = await evaDirections([{ path: "a", in: 4, rank: 2 }], inputs, () => [0, 0, 0], {
    tau: 1,
    maxBatches: 7,
  });
  expect([found.batches, found.unsettled]).toEqual([7, ["a"]]);
});

test("batches with too few rows are left out; where all are, it is said", async () => {
  const inputs = async (count: number) => new Map([["a", rows(count, [3, 1, 1, 1], count)]]);
  const layer = [{ path: "a", in: 4, rank: 2 }];
  const found = await evaDirections(layer, inputs, () => [2, 30, 30]);
  expect(found.skipped).toBeGreaterThan(0);
  await expect(evaDirections(layer, inputs, () => [2, 3])).rejects.toThrow(/at least 4 rows/);
  await expect(evaDirections(layer, inputs, () => [])).rejects.toThrow(/no batch/);
  await expect(evaDirections([{ path: "a", in: 4, rank: 3 }], inputs, () => [30])).rejects.toThrow(
    /rho · rank up to 4/,
  );
  await expect(evaDirections(layer, inputs, () => [30], { tau: 2 })).rejects.toThrow(/tau/);
  await expect(
    evaDirections(
      layer,
      async () => new Map(),
      () => [30],
    ),
  ).rejects.toThrow(/not given/);
});
