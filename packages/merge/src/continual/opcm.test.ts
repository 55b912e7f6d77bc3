import { createRandom, fromFloat64, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isLinearWeight, type OpcmState, opcmLambda, opcmMerged, opcmStep, squaredNorm } from "./opcm.ts";
import { projectTaskVector } from "./project-task-vector.ts";

const options = { alpha: 0.5, zeroDiagonal: true, rankTolerance: 1e-6 };
const matrix = (rows: number[][]) => tensor(rows, [rows.length, rows[0].length], "float64");
const expectNear = (found: Tensor, expected: number[][] | number[], digits = 5) => {
  const flat = expected.flat();
  expect(toFloat64(found).length).toBe(flat.length);
  for (const [i, value] of flat.entries()) expect(toFloat64(found)[i]).toBeCloseTo(value, digits);
};
const dot = (a: Tensor, b: Tensor) => toFloat64(a).reduce((sum, value, i) => sum + value * toFloat64(b)[i], 0);

describe("worked examples of the paper's formulas", () => {
  const merged = matrix([
    [4, 0, 0],
    [0, 3, 0],
    [0, 0, 1],
  ]);
  const tau = matrix([
    [1, 2, -1],
    [2, 1, 3],
    [0, 1, 2],
  ]);
  test("a diagonal matrix, at three shares", () => {
    for (const [alpha, rank] of [
      [0.3, 0],
      [0.5, 1],
    ]) {
      const found = projectTaskVector(merged, tau, { ...options, alpha });
      expect(found.splitRank).toBe(rank);
      expectNear(found.projected, [
        [0, 2, -1],
        [2, 0, 3],
        [0, 1, 0],
      ]);
    }
    const most = projectTaskVector(merged, tau, { ...options, alpha: 0.9 });
    expect(most.splitRank).toBe(2);
    expectNear(most.projected, [
      [0, 0, -1],
      [0, 0, 3],
      [0, 1, 0],
    ]);
  });

  const zero = (m: Tensor) => fromFloat64(new Float64Array(toFloat64(m).length), m.shape);
  function twoSteps(first: Tensor, second: Tensor, biases: number[][], alpha: number) {
    const base = new Map([
      ["fc.weight", zero(first)],
      ["fc.bias", tensor([0, 0], [2], "float64")],
    ]);
    const model = (weight: Tensor, bias: number[]) =>
      new Map([
        ["fc.weight", weight],
        ["fc.bias", tensor(bias, [2], "float64")],
      ]);
    const one = opcmStep(base, model(first, biases[0]), undefined, { alpha });
    expect(one.lambda).toBe(1);
    const two = opcmStep(base, model(second, biases[1]), one.state, { alpha });
    return { ...two, merged: opcmMerged(base, two.state) };
  }

  test("a whole step with a bias", () => {
    const {
      state,
      lambda,
      merged: out,
    } = twoSteps(
      merged,
      tau,
      [
        [1, 0],
        [0, 2],
      ],
      0.9,
    );
    expect(state.meanNorm).toBeCloseTo(5.29066, 5);
    expect(lambda).toBeCloseTo(1.22494, 5);
    expectNear(out.get("fc.weight") as Tensor, [
      [3.26547, 0, -0.816366],
      [0, 2.4491, 2.4491],
      [0, 0.816366, 0.816366],
    ]);
    expectNear(out.get("fc.bias") as Tensor, [0.816366, 1.63273]);
  });

  test("a matrix that is not diagonal", () => {
    const [m, t] = [
      matrix([
        [1, 2],
        [3, 4],
      ]),
      matrix([
        [0.5, -1],
        [2, 1],
      ]),
    ];
    const found = projectTaskVector(m, t, options);
    expectNear(found.projected, [
      [-0.222851, -1.27602],
      [1.32014, -0.29638],
    ]);
    expect(dot(found.projected, m)).toBeCloseTo(0, 12);
    const {
      state,
      lambda,
      merged: out,
    } = twoSteps(
      m,
      t,
      [
        [0, 0.1],
        [0.1, 0],
      ],
      0.5,
    );
    expect(state.meanNorm).toBeCloseTo(3.99007, 5);
    expect(lambda).toBeCloseTo(1.4512, 4);
    expectNear(out.get("fc.weight") as Tensor, [
      [0.535523, 0.498886],
      [2.97695, 2.55211],
    ]);
    expectNear(out.get("fc.bias") as Tensor, [0.0689086, 0.0689086]);
  });
});

/** A base and a stream of fine-tunes: a linear weight, an embedding, a bias. */
function stream(seed: number, count: number) {
  const random = createRandom(seed, "opcm");
  const shapes = { "fc.weight": [6, 4], "embed_tokens.weight": [5, 4], "fc.bias": [6] };
  const draw = (name: string, deviation: number) =>
    new Map(
      Object.entries(shapes).map(([key, shape]) => {
        const values = new Float64Array(shape.reduce((a, b) => a * b));
        random.child(`${name}/${key}`).normalsInto(values, { deviation });
        return [key, fromFloat64(values, shape)] as [string, Tensor];
      }),
    );
  const base = draw("base", 1);
  const models = Array.from({ length: count }, (_, i) => {
    const change = draw(`${i}`, 0.1 * (i + 1));
    return new Map(
      [...base].map(
        ([key, t]) =>
          [
            key,
            fromFloat64(
              toFloat64(t).map((x, j) => x + toFloat64(change.get(key) as Tensor)[j]),
              t.shape,
            ),
          ] as [string, Tensor],
      ),
    );
  });
  return { base, models };
}

describe("laws", () => {
  const seeds = fc.nat(1e6);
  test("one model comes back", () => {
    const { base, models } = stream(1, 1);
    const { state } = opcmStep(base, models[0]);
    for (const [name, t] of opcmMerged(base, state)) expectNear(t, [...toFloat64(models[0].get(name) as Tensor)], 12);
  });

  test("what is added is orthogonal to what was there, never longer than the task vector, and shorter for a larger alpha", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { base, models } = stream(seed, 2);
        const delta = (i: number) => {
          const from = toFloat64(base.get("fc.weight") as Tensor);
          return fromFloat64(
            toFloat64(models[i].get("fc.weight") as Tensor).map((x, j) => x - from[j]),
            [6, 4],
          );
        };
        let before = Math.sqrt(squaredNorm(delta(1))) + 1e-12;
        for (const alpha of [0, 0.3, 0.6, 0.9, 0.99]) {
          const { projected } = projectTaskVector(delta(0), delta(1), { ...options, alpha });
          expect(Math.abs(dot(projected, delta(0)))).toBeLessThan(1e-12);
          const length = Math.sqrt(squaredNorm(projected));
          expect(length).toBeLessThanOrEqual(before + 1e-12);
          before = length;
        }
      }),
      { seed: 1, numRuns: 30 },
    );
  });

  test("the merged task vector has the mean norm of all task vectors, at every step", () => {
    const { base, models } = stream(2, 4);
    let state: OpcmState | undefined;
    let norms = 0;
    for (const [i, model] of models.entries()) {
      state = opcmStep(base, model, state).state;
      const distance = (other: ReadonlyMap<string, Tensor>) =>
        Math.sqrt(
          [...base].reduce((sum, [name, t]) => {
            const [a, b] = [toFloat64(t), toFloat64(other.get(name) as Tensor)];
            return sum + a.reduce((s, x, j) => s + (b[j] - x) ** 2, 0);
          }, 0),
        );
      norms += distance(model);
      expect(distance(opcmMerged(base, state))).toBeCloseTo(norms / (i + 1), 10);
    }
  });

  test("the same linear model twice changes nothing", () => {
    const { base, models } = stream(3, 1);
    const only = (all: ReadonlyMap<string, Tensor>) => new Map([["fc.weight", all.get("fc.weight") as Tensor]]);
    const first = opcmStep(only(base), only(models[0]));
    const second = opcmStep(only(base), only(models[0]), first.state);
    expect(second.lambda).toBeCloseTo(1, 12);
    const [a, b] = [opcmMerged(only(base), first.state), opcmMerged(only(base), second.state)];
    expectNear(b.get("fc.weight") as Tensor, [...toFloat64(a.get("fc.weight") as Tensor)], 10);
  });

  test("orthogonal task vectors of one length: lambda grows as the root of their number", () => {
    const base = new Map([["fc.weight", matrix(Array.from({ length: 4 }, () => Array(4).fill(0)))]]);
    let state: OpcmState | undefined;
    for (let t = 0; t < 4; t++) {
      const rows = Array.from({ length: 4 }, (_, i) =>
        Array.from({ length: 4 }, (_, j) => (i === t && j === t ? 1 : 0)),
      );
      // A pair of directions of its own for each.
      const result = opcmStep(base, new Map([["fc.weight", matrix(rows)]]), state);
      state = result.state;
      expect(result.lambda).toBeCloseTo(Math.sqrt(t + 1), 12);
    }
  });

  test("a weight no earlier model changed takes the new one whole", () => {
    const zero = matrix([
      [0, 0],
      [0, 0],
    ]);
    const tau = matrix([
      [1, 2],
      [3, 4],
    ]);
    expectNear(projectTaskVector(zero, tau, options).projected, [
      [1, 2],
      [3, 4],
    ]);
  });

  test("the state holds one set of tensors however many models came", () => {
    const { base, models } = stream(4, 5);
    let state: OpcmState | undefined;
    for (const model of models) state = opcmStep(base, model, state).state;
    expect([state?.count, state?.sum.size]).toEqual([5, 3]);
    // Taken up from plain data it goes on alike.
    const copy = structuredClone(state) as OpcmState;
    expect(opcmLambda(copy)).toBe(opcmLambda(state as OpcmState));
  });
});

test("linear weights are told from embeddings by name and rank", () => {
  expect(isLinearWeight("model.layers.0.self_attn.q_proj.weight", [4, 4])).toBe(true);
  expect(isLinearWeight("lm_head.weight", [9, 4])).toBe(true);
  for (const name of [
    "model.embed_tokens.weight",
    "transformer.wte.weight",
    "bert.embeddings.word_embeddings.weight",
    "emb.weight",
  ]) {
    expect(isLinearWeight(name, [9, 4]), name).toBe(false);
  }
  expect(isLinearWeight("conv.weight", [4, 4, 3, 3])).toBe(false);
});

describe("bad input", () => {
  const { base, models } = stream(5, 1);
  test("alpha outside of 0 to below 1", () => {
    for (const alpha of [-0.1, 1, Number.NaN]) {
      expect(() => opcmStep(base, models[0], undefined, { alpha })).toThrow(
        expect.objectContaining({ code: "INVALID_OPTION" }),
      );
    }
  });
  test("a model of other tensors", () => {
    const missing = new Map([...models[0]].slice(1));
    const more = new Map([...models[0], ["x", tensor([1])]]);
    const other = new Map([...models[0], ["fc.bias", tensor([1, 2])]]);
    for (const model of [missing, more, other]) {
      expect(() => opcmStep(base, model)).toThrow(expect.objectContaining({ code: "MODEL_MISMATCH" }));
    }
  });
});
