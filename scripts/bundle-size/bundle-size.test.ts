import { expect, test } from "vitest";
import { entries } from "./entries.ts";
import { measureBundle } from "./measure.ts";

test.each(Object.entries(entries))("%s stays small in a page", async (_, { code, limit }) => {
  const { gzipped, bytes, inputs } = await measureBundle(code);
  expect(gzipped).toBeLessThan(limit);
  expect(bytes).toBeGreaterThan(500); // what is exported is there
  expect(inputs.filter(({ path }) => path.includes("onnxruntime"))).toEqual([]);
});

test("a method brings no other one with it", async () => {
  const names = async (code: string) =>
    (await measureBundle(code)).inputs.filter(({ bytes }) => bytes > 0).map(({ path }) => path);
  const merge = await names(entries["merge: ties"].code);
  expect(merge.some((path) => path.endsWith("merge/src/methods/ties.ts"))).toBe(true);
  expect(merge.filter((path) => /merge\/src\/methods\/(?!ties)/.test(path))).toEqual([]);
  const optim = await names(entries["optim: adamw from the index"].code);
  expect(optim.filter((path) => /optim\/src\/methods\/(?!adam)/.test(path))).toEqual([]);
});

test("a search adds little to what any training brings", async () => {
  const [search, train] = await Promise.all(
    ["nas: TangleNAS, a search that trains", "graph: training, to compare"].map((name) =>
      measureBundle(entries[name].code),
    ),
  );
  const own = search.inputs
    .filter(({ path }) => path.includes("packages/nas/"))
    .reduce((sum, { bytes }) => sum + bytes, 0);
  expect(own).toBeLessThan(30_000);
  expect(search.gzipped - train.gzipped).toBeLessThan(20_000);
});
