import { add, conv, gather, matMul, mul, reshape, type Value } from "@loomweight/graph";
import {
  contiguousData,
  elementCount,
  fromData,
  LoomweightError,
  type OptionSpecs,
  type OptionValues,
  type Tensor,
} from "@loomweight/tensor";

import { describe, expect, test } from "vitest";
import type { AdapterMethod, AdapterRandom, LayerInGraph, ParamShape, Params, SharedParam } from "../src/define.ts";
import { dimSize, freshAdapter, paramShape } from "../src/define.ts";
import { sliceLayer, sliceParam } from "../src/fold/slice.ts";
import { unfoldedWeight } from "../src/fold/unfold.ts";
import { type LayerKind, type LayerShape, layerOf, storedAxis } from "../src/layer.ts";
import { checkAttached, checkFresh, checkGradients } from "./attach-laws.ts";

/** Laws of every adapter method; a law that does not apply is skipped with its reason. */
export type Law =
  | "a fresh adapter computes what its definition says"
  | "apply is the layer with weight"
  | "slices make up the whole"
  | "unfolding gives the weight back"
  | "attached to a graph, it is the layer with weight"
  | "attached fresh, the graph computes what the definition says"
  | "attached, its gradients are those of central differences";

export interface ContractCase {
  readonly what: string;
  readonly kind: LayerKind;
  readonly storedShape: readonly number[];
  readonly options: Readonly<Record<string, unknown>>;
  /** Parameters that are not any numbers (indices, small angles), by name; the others are drawn. */
  readonly params?: (layer: LayerShape) => Readonly<Record<string, Tensor>>;
}

/** Numbers for tests, by name; not those of the product. */
export function testRandom(): AdapterRandom {
  const draw = (name: string, shape: readonly number[], low: number, high: number) => {
    let state = [...name].reduce((sum, character) => (sum * 31 + character.charCodeAt(0)) >>> 0, 7) || 1;
    const data = new Float32Array(elementCount(shape));
    for (let i = 0; i < data.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      data[i] = low + ((state >>> 0) / 2 ** 32) * (high - low);
    }
    return fromData("float32", data, shape);
  };
  return {
    uniform: draw,
    normal: (name, shape, deviation) => draw(name, shape, -2 * deviation, 2 * deviation),
  };
}

/** A float64 tensor of test numbers. */
export function numbers(name: string, shape: readonly number[], scale = 1): Tensor<"float64"> {
  return fromData("float64", Float64Array.from(testRandom().uniform(name, shape, -scale, scale).data), shape);
}

function wide(tensor: Tensor): Tensor {
  return fromData("float64", Float64Array.from(tensor.data as Float32Array), tensor.shape);
}

/** The layer as its stored weight [out, in] (or [in, out]) has it, as values. */
export function layerValues(shape: LayerShape, stored: Tensor<"float64">, bias: Tensor | undefined): LayerInGraph {
  const weight =
    storedAxis(shape) === "out"
      ? fromData("float64", stored.data, [shape.out, shape.in])
      : transposed(fromData("float64", stored.data, [shape.in, shape.out]));
  const operation = (x: Value, own: Value): Value =>
    shape.kind === "convolution"
      ? conv(x, own)
      : shape.kind === "embedding"
        ? gather(own, x, 0)
        : shape.kind === "normalization"
          ? mul(x, own)
          : matMul(x, shape.kind === "transposedLinear" ? own : swap(own));
  const perOutput = (vector: Value) =>
    shape.kind === "convolution" ? reshape(vector, [shape.out, ...shape.storedShape.slice(2).map(() => 1)]) : vector;
  const forward = (x: Value) => {
    const y = operation(x, stored);
    return bias === undefined ? y : add(y, perOutput(bias));
  };
  return { ...shape, weight, base: weight, bias, storedWeight: stored, forward, operation, perOutput };
}

function swap(x: Value): Value {
  return transposed(x as Tensor);
}

function transposed(x: Tensor): Tensor {
  const out = new Float64Array(elementCount(x.shape));
  const [rows, columns] = x.shape;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++)
      out[j * rows + i] = (x.data as Float64Array)[x.offset + i * x.stride[0] + j * x.stride[1]];
  }
  return fromData("float64", out, [columns, rows]);
}

/** The weight [out, in] of a linear layer after `method`, row by row, from plain rows. */
export function foldRows<S extends OptionSpecs, P extends string>(
  method: AdapterMethod<S, P>,
  rows: readonly (readonly number[])[],
  params: Readonly<Record<string, Tensor>>,
  options: Readonly<Record<string, unknown>>,
): number[] {
  const stored = fromData("float64", Float64Array.from(rows.flat()), [rows.length, rows[0].length]);
  const layer = layerValues(layerOf("linear", stored.shape), stored, undefined);
  const [own, given] = [params as Params<P>, options as OptionValues<S>];
  const weight = method.weight?.(layer, own, given, method.sums?.(layer, own, given) ?? {}) as Tensor;
  return Array.from(contiguousData(weight) as Float64Array);
}

/** Numbers as a float64 tensor. */
export function float64(values: readonly number[], shape: readonly number[]): Tensor<"float64"> {
  return fromData("float64", Float64Array.from(values), shape);
}

/** The numbers of a float64 tensor, row by row. */
export function plainNumbers(value: Value | undefined): number[] {
  return Array.from(contiguousData(value as Tensor) as Float64Array);
}

/** Asserts that two lists of numbers agree within 1e-12. */
export function expectNumbers(got: readonly number[], expected: readonly number[]): void {
  expect(got.length).toBe(expected.length);
  expected.forEach((value, i) => {
    expect(Math.abs(got[i] - value), `entry ${i}: ${got[i]}, not ${value}`).toBeLessThanOrEqual(1e-12);
  });
}

export function largestDifference(a: Tensor, b: Tensor): number {
  expect(a.shape).toEqual(b.shape);
  const [x, y] = [contiguousData(a) as Float64Array, contiguousData(b) as Float64Array];
  let most = 0;
  for (let i = 0; i < x.length; i++) most = Math.max(most, Math.abs(x[i] - y[i]));
  return Number.isNaN(most) ? Number.POSITIVE_INFINITY : most;
}

export function adapterContract<S extends OptionSpecs, P extends string>(
  method: AdapterMethod<S, P>,
  cases: readonly ContractCase[],
  skipped: Partial<Record<Law, string>> = {},
): void {
  const law = (
    name: Law,
    body: (each: ContractCase) => Promise<void>,
    inapplicable: (each: ContractCase) => string | undefined = () => undefined,
  ) => {
    describe(`${method.name}: ${name}`, () => {
      for (const each of cases) {
        test(each.what, async (context) => {
          const reason = skipped[name] ?? inapplicable(each);
          return reason === undefined ? await body(each) : context.skip(reason);
        });
      }
    });
  };
  /** The layer, its parameters, and all that the method's functions get: `made` gives parameters instead of drawn ones. */
  const prepare = async (each: ContractCase, made?: (weight: Tensor) => Readonly<Record<string, Tensor>>) => {
    const { kind, storedShape } = each;
    const layer = layerOf(kind, storedShape);
    const given = each.options as OptionValues<S>;
    const stored = numbers("weight", storedShape);
    const values = layerValues(layer, stored, kind === "embedding" ? undefined : numbers("bias", [layer.out]));
    const weight = values.weight as Tensor;
    const shapes: Record<string, ParamShape> = {};
    for (const [name, shape] of Object.entries(method.params(layer, given))) shapes[name] = shape as ParamShape;
    const own = { ...shapes };
    const params: Record<string, Tensor> = {};
    for (const [name, shape] of Object.entries(shapes)) params[name] = numbers(name, paramShape(shape, layer), 0.5);
    Object.assign(params, each.params?.(layer), made?.(weight));
    const layers = new Map([["model.layers.0.layer", layer]]);
    const place = { path: "model.layers.0.layer", layers, layersInOrder: () => layers };
    const shared = method.shared?.(layers, given, testRandom()) ?? {};
    for (const [name, common] of Object.entries(method.sharedParams?.(layer, given, place) ?? {})) {
      const tensor = shared[(common as SharedParam).key];
      params[name] = tensor.dtype === "float32" ? wide(tensor) : tensor;
      shapes[name] = tensor.shape;
    }
    const context = { ...place, weight: async () => weight as Tensor<"float64"> };
    const prepared = (await method.prepare?.(layer, { ...params } as Record<P, Tensor>, given, context)) ?? {};
    const known = (method.prepared?.(layer, given) ?? {}) as Readonly<Record<string, ParamShape>>;
    for (const [name, value] of Object.entries(prepared as Record<string, Tensor>)) {
      expect([name, value.shape]).toEqual([name, paramShape(known[name] ?? value.shape, layer)]);
      params[name] = value;
      shapes[name] = known[name] ?? value.shape;
    }
    return { layer, given, stored, values, own, shapes, params };
  };
  const weightOf = (values: LayerInGraph, params: Readonly<Record<string, Value>>, given: OptionValues<S>): Tensor => {
    const own = params as Params<P>;
    const sums = method.sums?.(values, own, given) ?? {};
    return (method.weight?.(values, own, given, sums) ?? values.weight) as Tensor;
  };

  law("a fresh adapter computes what its definition says", async (each) => {
    const { own } = await prepare(each);
    const starts = freshAdapter(method, each.options as OptionValues<S>);
    const make = () =>
      prepare(each, (weight) => {
        const layer = layerOf(each.kind, each.storedShape);
        const bias = each.kind === "embedding" ? undefined : numbers("bias", [layer.out]);
        const context = { random: testRandom(), weight, bias };
        const made = method.init(layer, each.options as OptionValues<S>, context);
        expect(Object.keys(made).sort()).toEqual(Object.keys(own).sort());
        const fresh: Record<string, Tensor> = {};
        for (const [name, tensor] of Object.entries(made)) {
          expect([name, tensor.shape]).toEqual([name, paramShape(own[name], layer)]);
          fresh[name] = tensor.dtype === "float32" ? wide(tensor) : tensor;
        }
        return fresh;
      });
    if (starts === "none") return expect(make()).rejects.toThrow(LoomweightError);
    const { given, layer, values, params } = await make();
    // DoRA's norms go through float32, the dtype of parameters.
    const difference = largestDifference(weightOf(values, params, given), values.weight as Tensor);
    const bias =
      values.bias === undefined || method.bias?.needs.every((name) => name in params) !== true
        ? values.bias
        : method.bias.change(values.bias, layer, params as Params<P>, given);
    const shift = bias === undefined ? 0 : largestDifference(bias as Tensor, values.bias as Tensor);
    if (starts === "base") expect(Math.max(difference, shift)).toBeLessThan(1e-6);
    else expect(Math.max(difference, shift)).toBeGreaterThan(1e-6); // else "base" would be the truth
  });

  law("apply is the layer with weight", async (each) => {
    const { layer, given, values, params } = await prepare(each);
    const x: Tensor =
      each.kind === "embedding"
        ? fromData("int64", BigInt64Array.from([0n, BigInt(layer.in - 1), 1n]), [3])
        : each.kind === "convolution"
          ? numbers("x", [2, layer.storedShape[1], ...layer.storedShape.slice(2).map((size) => size + 2)])
          : numbers("x", [5, each.kind === "normalization" ? layer.out : layer.in]);
    const applied = method.apply(values, params as Params<P>, x, given) as Tensor;
    const weight = weightOf(values, params, given);
    const y =
      each.kind === "embedding"
        ? gather(swap(weight), x, 0)
        : each.kind === "convolution"
          ? conv(x, reshape(weight, layer.storedShape))
          : each.kind === "normalization"
            ? mul(x, reshape(weight, [layer.out]))
            : matMul(x, swap(weight));
    const bias =
      values.bias !== undefined && method.bias?.needs.every((name) => name in params)
        ? method.bias.change(values.bias, layer, params as Params<P>, given)
        : values.bias;
    const withBias = bias === undefined ? y : add(y, values.perOutput(bias));
    expect(largestDifference(applied, withBias as Tensor)).toBeLessThan(1e-10);
    expect(largestDifference(applied, values.forward(x) as Tensor)).toBeGreaterThan(1e-3);
  });

  const tiled = ({ kind, storedShape, options }: ContractCase) => {
    if (method.weight === undefined) return "it changes no weight";
    const tiling = method.tiling?.(layerOf(kind, storedShape), options as OptionValues<S>) ?? {};
    return tiling.out === undefined && tiling.in === undefined ? "it is evaluated whole only" : undefined;
  };
  law(
    "slices make up the whole",
    async (each) => {
      const { layer, given, values, shapes, params } = await prepare(each);
      const whole = weightOf(values, params, given);
      const wholeSums = method.sums?.(values, params as Params<P>, given);
      for (const axis of ["out", "in"] as const) {
        const multiple = method.tiling?.(layer, given)[axis];
        if (multiple === undefined) continue;
        const step = multiple * Math.max(1, Math.floor(layer[axis] / multiple / 3));
        let seen = 0;
        const added: Record<string, number[]> = {};
        for (let start = 0; start < layer[axis]; start += step) {
          const end = Math.min(layer[axis], start + step);
          const view = (tensor: Value) => sliceParam(tensor as Tensor, ["out", "in"], axis, start, end);
          const own: Record<string, Tensor> = {};
          for (const [name, tensor] of Object.entries(params)) {
            own[name] = sliceParam(tensor, shapes[name], axis, start, end);
            expect(own[name].shape).toEqual(shapes[name].map((dim) => dimSize(dim, { ...layer, [axis]: end - start })));
          }
          const part: LayerInGraph = {
            ...values,
            ...(storedAxis(layer) === axis ? sliceLayer(layer, start, end) : { ...layer, [axis]: end - start }),
            weight: view(values.weight),
            base: view(values.base),
            offset: { out: axis === "out" ? start : 0, in: axis === "in" ? start : 0 },
          };
          const sums = method.sums?.(part, own as Params<P>, given) ?? {};
          for (const [name, sum] of Object.entries(sums)) {
            const numbersOfSum = Array.from((sum as Tensor).data as Float64Array);
            added[name] =
              axis === "out"
                ? [...(added[name] ?? []), ...numbersOfSum]
                : numbersOfSum.map((value, i) => value + (added[name]?.[i] ?? 0));
          }
          const tile = method.weight?.(
            part,
            own as Params<P>,
            given,
            axis === "out" ? sums : (wholeSums ?? {}),
          ) as Tensor;
          const expected = view(whole);
          for (let i = 0; i < tile.shape[0]; i++) {
            for (let j = 0; j < tile.shape[1]; j++) {
              const ours = (tile.data as Float64Array)[tile.offset + i * tile.stride[0] + j * tile.stride[1]];
              const theirs = (expected.data as Float64Array)[
                expected.offset + i * expected.stride[0] + j * expected.stride[1]
              ];
              expect(Math.abs(ours - theirs)).toBeLessThan(1e-12);
              seen++;
            }
          }
        }
        expect(seen).toBe(layer.out * layer.in);
        for (const [name, values] of Object.entries(added)) {
          const expected = wholeSums?.[name] as Tensor;
          Array.from(expected.data as Float64Array).forEach((value, i) => {
            expect(Math.abs(value - values[i])).toBeLessThan(1e-10);
          });
        }
      }
    },
    tiled,
  );

  const kept = () =>
    method.additive !== true && method.original === undefined ? "its weights are kept, not computed back" : undefined;
  law(
    "unfolding gives the weight back",
    async (each) => {
      const { given, values, params } = await prepare(each);
      const folded = { ...values, weight: weightOf(values, params, given) };
      const again = unfoldedWeight(method, folded, params as Params<P>, given);
      expect(largestDifference(again, values.weight as Tensor)).toBeLessThan(1e-9);
    },
    kept,
  );

  law("attached to a graph, it is the layer with weight", (each) => checkAttached(method, each));
  law("attached fresh, the graph computes what the definition says", (each) => checkFresh(method, each));
  law("attached, its gradients are those of central differences", (each) => checkGradients(method, each));
}
