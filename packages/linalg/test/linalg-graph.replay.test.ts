import { input, type Value } from "@loomweight/graph";
import { evaluate } from "@loomweight/graph/node";
import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { newtonInverseRoot, newtonSchulz } from "../src/index.ts";
import { eye, gap, plain, size, times, turned } from "./arithmetic.ts";
import { absent, inDType, precisions, type RecordedCase, recordedCases, recordedTensor } from "./recorded.ts";

// The iterations by products against the recorded references, as float32 graphs in onnxruntime: one graph for all cases.

const single = precisions[1];
const { u } = single;

const polars = recordedCases.filter(({ tensors }) => tensors?.polar !== undefined);
const definite = recordedCases.filter(({ tensors }) => tensors?.inverseSqrt !== undefined);

/** Beyond this condition the smallest singular values are below what float32 carries through an iteration. */
const reach = 1e4;

const roots = (recorded: RecordedCase) =>
  Object.keys(recorded.tensors ?? {}).flatMap((name) => {
    const p = name === "inverseSqrt" ? 2 : Number(/^inverseRoot(\d+)$/.exec(name)?.[1] ?? Number.NaN);
    return Number.isNaN(p) ? [] : [{ name, p }];
  });

let found: Record<string, Tensor> = {};

beforeAll(async () => {
  if (absent !== undefined) return;
  const outputs: Record<string, Value> = {};
  const feeds: Record<string, Tensor> = {};
  for (const { name, shape } of [...polars, ...definite]) {
    feeds[name] = inDType(recordedTensor(`${name}/a`), single);
    const a = input(name, "float32", shape);
    if (polars.some((each) => each.name === name)) outputs[`${name}/polar`] = newtonSchulz(a);
    const recorded = definite.find((each) => each.name === name);
    if (recorded === undefined) continue;
    for (const root of roots(recorded)) outputs[`${name}/${root.name}`] = newtonInverseRoot(a, root.p);
  }
  found = await evaluate(outputs, feeds);
}, 60_000);

test("the recorded cases are there", (context) => {
  if (absent !== undefined) context.skip(absent);
  expect(polars.length).toBeGreaterThan(10);
  expect(definite.length).toBeGreaterThan(2);
});

describe.each(polars)("$name ($shape)", (recorded) => {
  const { name, shape } = recorded;
  test("newtonSchulz", (context) => {
    const condition = recorded.condition as number;
    if (condition > reach) {
      context.skip("too ill-conditioned for an iteration in float32: polar is the function for it");
    }
    const k = Math.max(...shape);
    const factor = plain(found[`${name}/polar`]);
    const square = shape[0] >= shape[1] ? times(turned(factor), factor) : times(factor, turned(factor));
    expect(gap(square, eye(Math.min(...shape)))).toBeLessThanOrEqual(10 * k * u);
    const s = toFloat64(recordedTensor(`${name}/singularValues`));
    const smallest = s[s.length - 1];
    const tightness = (s[s.length - 2] ?? smallest) + smallest;
    const error = gap(factor, plain(recordedTensor(`${name}/polar`)));
    expect(error).toBeLessThanOrEqual((10 * k * u * s[0]) / tightness);
  });
});

describe.each(definite)("$name ($shape)", (recorded) => {
  const { name, shape } = recorded;
  for (const { name: key, p } of roots(recorded)) {
    test(`newtonInverseRoot, p = ${p}`, (context) => {
      const condition = recorded.condition as number;
      if (condition > reach) {
        context.skip("too ill-conditioned for an iteration in float32: inverseRoot is the function for it");
      }
      const wanted = plain(recordedTensor(`${name}/${key}`));
      const error = gap(plain(found[`${name}/${key}`]), wanted);
      expect(error).toBeLessThanOrEqual(10 * shape[0] * u * condition * size(wanted));
    });
  }
});
