import type { OptionSpecs, Tensor } from "@loomweight/tensor";
import { fromData } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnyMergeMethod, MergeMethod, MergeNeeds } from "../src/define.ts";
import { createEngine, type EngineOptions } from "../src/lazy/engine.ts";
import { fromSource } from "../src/lazy/lazy-tensor.ts";
import { valuesOf } from "../src/lazy/reduce.ts";
import { merge, tensorSource } from "../src/merge.ts";
import { anyTensors, expectClose, expectSame, numbersOf, testKernels } from "./support.ts";

/** The laws of merge methods, by name. */
export type Law =
  | "model order does not matter"
  | "models equal to the base give the base"
  | "one result is rounded once"
  | "infinities and NaN are not hidden"
  | "tile sizes change nothing";

export interface ContractOptions {
  /** Options to test with, where one has no default; default none. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** How many models beside the base; default 2, or as many as the method takes. */
  readonly models?: number;
}

/**
 * Tests what holds for every merge method. A law that does not apply is skipped with its reason:
 * `mergeContract(dareTies, { "model order does not matter": "draws one mask per model" })`.
 */
export function mergeContract<I extends OptionSpecs, O extends OptionSpecs, N extends MergeNeeds>(
  typed: MergeMethod<I, O, N>,
  skipped: Partial<Record<Law, string>> = {},
  { options = {}, models: wanted }: ContractOptions = {},
): void {
  const method = typed as unknown as AnyMergeMethod;
  const { min, max = 3 } = method.needs.models;
  const count = wanted ?? Math.min(max, Math.max(min, 2));
  const withBase = method.needs.base !== "ordinary";
  const tensors = () => anyTensors(count + (withBase ? 1 : 0));
  const split = (all: readonly Tensor[]) => (withBase ? { base: all[0], models: all.slice(1) } : { models: all });
  const run = (all: readonly Tensor[], extra: object = {}) =>
    merge(method, split(all), { kernels: testKernels(), ...options, ...extra });
  const law = (name: Law, body: () => Promise<void>) => {
    const reason = skipped[name];
    if (reason === undefined) test(`${method.name}: ${name}`, body);
    else test(`${method.name}: ${name}`, (context) => context.skip(reason));
  };
  /** Where a method refuses an input (directions that cancel), there is no result to compare. */
  const orRefused = async (body: Promise<void>): Promise<void> =>
    body.catch((error: { code?: string }) => {
      if (!["NO_DIRECTION", "EMPTY_SELECTION", "WEIGHTS_CANCEL", "NON_FINITE"].includes(error.code ?? "")) throw error;
    });

  law("model order does not matter", () =>
    fc.assert(
      fc.asyncProperty(tensors(), async (all) => {
        const turned = withBase ? [all[0], ...all.slice(1).reverse()] : [...all].reverse();
        await orRefused(
          (async () => {
            expectClose(await run(turned), await run(all), 1e-9);
          })(),
        );
      }),
      { numRuns: 40 },
    ),
  );

  law("models equal to the base give the base", () =>
    fc.assert(
      fc.asyncProperty(anyTensors(1), async ([base]) => {
        await orRefused(
          (async () => {
            expectClose(await run(new Array<Tensor>(count + (withBase ? 1 : 0)).fill(base)), base, 1e-6);
          })(),
        );
      }),
      { numRuns: 40 },
    ),
  );

  test(`${method.name}: inputs stay as they are and the result has their shape`, () =>
    fc.assert(
      fc.asyncProperty(tensors(), async (all) => {
        const before = all.map((tensor) => [...numbersOf(tensor)]);
        await orRefused(
          (async () => {
            const merged = await run(all);
            expect(merged.shape).toEqual(all[0].shape);
            expect([...numbersOf(merged)].every(Number.isFinite)).toBe(true);
          })(),
        );
        expect(all.map((tensor) => [...numbersOf(tensor)])).toEqual(before);
      }),
      { numRuns: 40 },
    ));

  law("one result is rounded once", () =>
    fc.assert(
      fc.asyncProperty(tensors(), async (all) => {
        await orRefused(
          (async () => {
            const exact = numbersOf(await run(all, { dtype: "float64" }));
            const rounded = fromData("float32", Float32Array.from(exact), all[0].shape);
            expectSame(await run(all, { dtype: "float32" }), rounded);
          })(),
        );
      }),
      { numRuns: 20 },
    ),
  );

  law("infinities and NaN are not hidden", async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const good = (offset: number) =>
        fromData(
          "float64",
          Float64Array.from({ length: 12 }, (_, i) => Math.sin(i + offset)),
          [3, 4],
        );
      const all = Array.from({ length: count + (withBase ? 1 : 0) }, (_, i) => good(i));
      (all[all.length - 1].data as Float64Array)[5] = bad;
      await expect(run(all)).rejects.toMatchObject({ code: "NON_FINITE" });
    }
  });

  law("tile sizes change nothing", async () => {
    const shape = [9, 11];
    const all = Array.from({ length: count + (withBase ? 1 : 0) }, (_, model) =>
      fromData(
        "float64",
        Float64Array.from({ length: 99 }, (_, i) => Math.cos(i * (model + 1)) + 0.1 * model),
        shape,
      ),
    );
    const evaluate = async (sizes: Partial<EngineOptions>): Promise<Float64Array> => {
      const kernels = testKernels();
      const mark = kernels.mark();
      const engine = createEngine({ kernels, blockSize: 16, ...sizes });
      const lazy = all.map((tensor, i) => fromSource(tensorSource(tensor, "w", `model ${i}`), engine));
      const parsed = Object.fromEntries(
        Object.entries(method.options).map(([name, spec]) => [
          name,
          options[name] ?? (spec as { default: unknown }).default,
        ]),
      );
      const own = Object.fromEntries(
        Object.entries(method.inputOptions).map(([name, spec]) => [
          name,
          options[name] ?? (spec as { default: unknown }).default ?? 1,
        ]),
      );
      const inputs = (withBase ? lazy.slice(1) : lazy).map((tensor, index) => ({
        tensor,
        options: own,
        name: `model ${index}`,
        index,
      }));
      const merged = await method.merge({ base: withBase ? lazy[0] : undefined, models: inputs }, parsed, {
        tensor: "w",
        seed: 3,
      });
      const found = await valuesOf(merged);
      engine.reset();
      kernels.release(mark);
      return found;
    };
    const held = await evaluate({ tileElements: 1024 });
    expect([...(await evaluate({ tileElements: 16, residentBytes: 0 }))]).toEqual([...held]);
    expect([...(await evaluate({ tileElements: 48, residentBytes: 900 }))]).toEqual([...held]);
  });
}
