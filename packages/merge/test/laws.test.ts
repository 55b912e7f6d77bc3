import { cast, type DType, fromData, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { merge } from "../src/merge.ts";
import { mergeMethods } from "../src/method-list.ts";
import { expectClose, expectSame, numbersOf, testKernels } from "./support.ts";

// Laws of all methods beside those of contract.ts: what becomes of a result when its inputs are scaled or stored otherwise.

/** Why a method does not scale with its models. */
const notHomogeneous: Readonly<Record<string, string>> = {
  nearswap: "t is a distance in the units of the weights",
  "arcee-fusion": "importance is a softmax of the weights",
};
/** Values for options without a default, and densities at which methods do something. */
const settings: Readonly<Record<string, object>> = {
  slerp: { t: 0.3 },
  nearswap: { t: 0.1 },
  ties: { density: 0.6 },
  "dare-linear": { density: 0.6 },
  "dare-ties": { density: 0.6 },
  della: { density: 0.6 },
  "della-linear": { density: 0.6 },
  breadcrumbs: { density: 0.6, gamma: 0.1 },
  "breadcrumbs-ties": { density: 0.6, gamma: 0.1 },
  sce: { selectTopk: 0.7 },
};
/** As a method refuses inputs that leave it nothing to go by. */
const refusals = ["NO_DIRECTION", "EMPTY_SELECTION", "WEIGHTS_CANCEL"];

/** Tensors of 35 entries of size 1, different enough that no method stops at a limit of 1e-6. */
const anyModels = (count: number): fc.Arbitrary<Tensor[]> =>
  fc
    .array(fc.array(fc.integer({ min: -999, max: 999 }), { minLength: 35, maxLength: 35 }), {
      minLength: count,
      maxLength: count,
    })
    .map((all) =>
      all.map((numbers) =>
        fromData(
          "float64",
          Float64Array.from(numbers, (n) => n / 500 + 0.0007),
          [5, 7],
        ),
      ),
    );

for (const method of mergeMethods) {
  describe(method.name, () => {
    const { min, max = 3 } = method.needs.models;
    const withBase = method.needs.base !== "ordinary";
    const count = Math.min(max, Math.max(min, 2)) + (withBase ? 1 : 0);
    const options = { ...settings[method.name] };
    const run = (all: readonly Tensor[], extra: object = {}): Promise<Tensor> =>
      merge(method, withBase ? { base: all[0], models: all.slice(1) } : { models: all }, {
        kernels: testKernels(),
        seed: 5,
        ...options,
        ...extra,
      });
    const forAll = async (body: (all: Tensor[]) => Promise<void>): Promise<void> => {
      let held = 0;
      await fc.assert(
        fc.asyncProperty(anyModels(count), async (all) => {
          try {
            await body(all);
            held++;
          } catch (error) {
            if (!refusals.includes((error as { code?: string }).code ?? "")) throw error;
          }
        }),
        { numRuns: 15 },
      );
      // A law of which every case is refused says nothing.
      expect(held).toBeGreaterThan(0);
    };

    test("models of twice the size give a result of twice the size", async (context) => {
      if (notHomogeneous[method.name] !== undefined) context.skip(notHomogeneous[method.name]);
      const times = (tensor: Tensor, factor: number) =>
        fromData(
          "float64",
          numbersOf(tensor).map((value) => factor * value),
          tensor.shape,
        );
      await forAll(async (all) => {
        const merged = await run(all);
        for (const factor of [2, 0.25]) {
          expectClose(await run(all.map((each) => times(each, factor))), times(merged, factor), 1e-6);
        }
      });
    });

    test("lambda scales what is added to the base", async (context) => {
      if (!Object.hasOwn(method.options, "lambda")) context.skip("has no lambda");
      await forAll(async (all) => {
        const base = numbersOf(all[0]);
        const once = numbersOf(await run(all));
        const scaled = numbersOf(await run(all, { lambda: -1.75 }));
        const expected = once.map((value, at) => base[at] - 1.75 * (value - base[at]));
        expectClose(fromData("float64", scaled, all[0].shape), [...expected], 1e-9);
      });
    });

    test("a weight of 0 leaves a model out where the others keep theirs", async (context) => {
      const weighed = Object.hasOwn(method.inputOptions, "weight") && max > 2 && method.name !== "multislerp";
      if (!weighed) context.skip("weighs no models, takes two at most, or mixes lengths and directions");
      await forAll(async (all) => {
        const others = all.slice(0, -1);
        if (others.length - (withBase ? 1 : 0) < min) return;
        const weight = [...new Array<number>(others.length - (withBase ? 1 : 0)).fill(0.6), 0];
        expectClose(await run(all, { weight }), await run(others, { weight: weight.slice(0, -1) }), 1e-9);
      });
    });

    for (const dtype of ["float64", "float32", "bfloat16", "float16"] as const satisfies readonly DType[]) {
      test(`models stored in ${dtype} give that dtype, the exact result rounded once`, async () => {
        await forAll(async (all) => {
          const stored = all.map((each) => cast(each, dtype));
          const merged = await run(stored);
          expect(merged.dtype).toBe(dtype);
          const exact = await run(stored.map((each) => cast(each, "float64")));
          expectSame(merged, cast(exact, dtype));
        });
      });
    }

    test("models equal to the base come back bit for bit in the dtypes of files", async () => {
      for (const dtype of ["float32", "bfloat16", "float16"] as const) {
        await forAll(async ([first]) => {
          const stored = cast(first, dtype);
          expectSame(await run(new Array<Tensor>(count).fill(stored)), stored);
        });
      }
    });
  });
}
