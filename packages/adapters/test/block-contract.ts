import { evaluateTrace, gather, gradient, input, type Value } from "@loomweight/graph";
import { fromData, type OptionSpecs, type OptionValues, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import type { Params } from "../src/define.ts";
import { type BlockInGraph, type BlockMethod, type BlockShape, countBlockParameters } from "../src/define-block.ts";
import { adapterRandom } from "../src/random/adapter-random.ts";
import { numbers } from "./contract.ts";
import { numbersOf } from "./method-replay.ts";

/** Laws of every method of block scope; a law that does not apply is skipped with its reason. */
export type BlockLaw =
  | "a fresh adapter leaves the output as it is"
  | "gradients are those of central differences"
  | "tokens do not see each other"
  | "values are the same on tensors and in a graph";

export interface BlockCase {
  readonly what: string;
  readonly in: number;
  readonly out: number;
  readonly options: Readonly<Record<string, unknown>>;
  /** Values of the method's inputs. */
  readonly inputs?: Readonly<Record<string, Tensor>>;
  readonly position?: BlockShape["position"];
  /** What the module computes; default: numbers that do not depend on its input. */
  readonly module?: (x: Value) => Value;
}

function wide(tensor: Tensor): Tensor {
  return fromData("float64", Float64Array.from(numbersOf(tensor)), tensor.shape);
}

/** A site whose module makes `output` of x, both test numbers [tokens, width]. */
export function testSite(shape: BlockShape, tokens: number, module?: (x: Value) => Value): BlockInGraph {
  const input = numbers("input", [tokens, shape.in], 2);
  return {
    ...shape,
    input,
    output: module?.(input) ?? numbers("output", [tokens, shape.out], 2),
    residual: numbers("residual", [tokens, shape.out], 2),
  };
}

export function largest(a: Tensor, b: Tensor): number {
  const [x, y] = [numbersOf(a), numbersOf(b)];
  expect(x.length).toBe(y.length);
  return x.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i])), 0);
}

export function blockContract<S extends OptionSpecs, P extends string>(
  method: BlockMethod<S, P>,
  cases: readonly BlockCase[],
  skipped: Partial<Record<BlockLaw, string>> = {},
): void {
  const law = (name: BlockLaw, body: (each: BlockCase) => void) => {
    const reason = skipped[name];
    describe(`${method.name}: ${name}`, () => {
      for (const each of cases) {
        test(each.what, (context) => (reason === undefined ? body(each) : context.skip(reason)));
      }
    });
  };
  const prepare = (each: BlockCase) => {
    const shape: BlockShape = { path: "blocks.0.mlp", index: 0, in: each.in, out: each.out, position: each.position };
    const given = each.options as OptionValues<S>;
    const fresh = {
      own: method.init(shape, given, { random: adapterRandom(3, "blocks.0.mlp") }),
      shared: method.initShared?.([shape], given, adapterRandom(3, "shared")) ?? {},
    };
    const shapes = {
      own: method.params(shape, given) as Readonly<Record<string, readonly number[]>>,
      shared: method.shared?.([shape], given) ?? {},
    };
    return { shape, given, fresh, shapes };
  };
  const applied = (
    each: BlockCase,
    site: BlockInGraph,
    tensors: { own: Readonly<Record<string, Value>>; shared: Readonly<Record<string, Value>> },
  ): Value => {
    const given = each.options as OptionValues<S>;
    const made =
      method.generate?.(site, tensors as { own: Params<P>; shared: Params }, each.inputs ?? {}, given) ?? tensors.own;
    return method.apply(site, made, given);
  };
  const random = (shapes: Readonly<Record<string, readonly number[]>>) =>
    Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, numbers(name, shape, 0.5) as Tensor]));

  describe(`${method.name}: fresh tensors have the shapes that are declared`, () => {
    test.each(cases)("$what", (each) => {
      const { fresh, shapes, given, shape } = prepare(each);
      const declared = { ...shapes.own, ...shapes.shared };
      const made = { ...fresh.own, ...fresh.shared };
      expect(Object.fromEntries(Object.entries(made).map(([name, tensor]) => [name, [...tensor.shape]]))).toEqual(
        Object.fromEntries(Object.entries(declared).map(([name, sizes]) => [name, [...sizes]])),
      );
      const count = Object.values(made).reduce((sum, tensor) => sum + numbersOf(tensor).length, 0);
      expect(countBlockParameters(method, [shape], given)).toBe(count);
      for (const tensor of Object.values(made)) expect(tensor.dtype).toBe("float32");
    });
  });

  law("a fresh adapter leaves the output as it is", (each) => {
    const { shape, fresh } = prepare(each);
    const site = testSite(shape, 5, each.module);
    const tensors = {
      own: Object.fromEntries(Object.entries(fresh.own).map(([name, tensor]) => [name, wide(tensor)])),
      shared: Object.fromEntries(Object.entries(fresh.shared).map(([name, tensor]) => [name, wide(tensor)])),
    };
    expect(numbersOf(applied(each, site, tensors) as Tensor)).toEqual(numbersOf(site.output as Tensor));
  });

  law("values are the same on tensors and in a graph", (each) => {
    const { shape, shapes } = prepare(each);
    const site = testSite(shape, 4, each.module);
    const tensors = { own: random(shapes.own), shared: random(shapes.shared) };
    const direct = applied(each, site, tensors) as Tensor;
    const x = input("x", "float64", [4, shape.in]);
    const graph = evaluateTrace(
      { y: applied(each, { ...site, input: x, output: each.module?.(x) ?? site.output }, tensors) },
      { x: site.input as Tensor },
    ).y;
    expect(largest(direct, graph)).toBeLessThan(1e-12);
    expect(largest(direct, site.output as Tensor)).toBeGreaterThan(1e-4);
  });

  law("gradients are those of central differences", (each) => {
    const { shape, shapes } = prepare(each);
    const site = testSite(shape, 3, each.module);
    const feeds: Record<string, Tensor> = { ...random(shapes.own), ...random(shapes.shared) };
    const values = Object.fromEntries(
      Object.entries(feeds).map(([name, tensor]) => [name, input(name, "float64", tensor.shape)]),
    );
    const pick = (names: object) => Object.fromEntries(Object.keys(names).map((name) => [name, values[name]]));
    const y = applied(each, site, { own: pick(shapes.own), shared: pick(shapes.shared) });
    const dy = numbers("dy", y.shape as number[]);
    const slopes = evaluateTrace<string>(gradient(y, values, { upstream: dy }), feeds);
    const loss = (changed: Record<string, Tensor>) => {
      const found = numbersOf(evaluateTrace({ y }, changed).y);
      return numbersOf(dy).reduce((sum, weight, i) => sum + weight * found[i], 0);
    };
    for (const [name, tensor] of Object.entries(feeds)) {
      const own = numbersOf(tensor);
      // A few entries of each tensor: first, last and some between.
      for (const i of new Set([0, Math.floor(own.length / 3), Math.floor(own.length / 2), own.length - 1])) {
        const moved = (by: number) => {
          const data = Float64Array.from(own);
          data[i] += by;
          return loss({ ...feeds, [name]: fromData("float64", data, tensor.shape) });
        };
        const step = 1e-6;
        const expected = (moved(step) - moved(-step)) / (2 * step);
        expect(Math.abs(numbersOf(slopes[name])[i] - expected)).toBeLessThan(1e-6 * Math.max(1, Math.abs(expected)));
      }
    }
  });

  law("tokens do not see each other", (each) => {
    const { shape, shapes } = prepare(each);
    const tensors = { own: random(shapes.own), shared: random(shapes.shared) };
    const site = testSite(shape, 5, each.module);
    const whole = applied(each, site, tensors);
    const order = fromData("int64", BigInt64Array.from([3n, 0n, 4n]), [3]);
    const at = (value: Value | undefined) => value && gather(value, order, 0);
    const part = applied(
      each,
      { ...site, input: at(site.input) as Value, output: at(site.output) as Value, residual: at(site.residual) },
      tensors,
    );
    expect(largest(part as Tensor, gather(whole, order, 0) as Tensor)).toBeLessThan(1e-12);
  });
}
