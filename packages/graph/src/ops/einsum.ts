import type { Tensor } from "@loomweight/tensor";
import { text, textOf } from "../attributes.ts";
import { broadcastDim } from "../dims.ts";
import { applyOne, defineOps, type OpCall, ruleOf } from "../op.ts";
import type { Dim, Value } from "../value.ts";
import { byParts, type Decomposition } from "./decompose.ts";
import { mul } from "./elementwise.ts";
import { slice } from "./indexing.ts";
import { matMul } from "./matmul.ts";
import { reduceSum } from "./reduce.ts";
import { badShape, inputOf, requireFloat, sameDtype } from "./same-dtype.ts";
import { expand, reshape, transpose } from "./shape.ts";

interface Equation {
  /** Labels of each operand's axes: a letter, or a number for an axis of the ellipsis. */
  readonly operands: readonly (readonly string[])[];
  readonly result: readonly string[];
  readonly sizes: ReadonlyMap<string, Dim>;
}

/** Axes of a term such as "b...ij"; those of the ellipsis are numbered from the last. */
function labelsOf(call: Pick<OpCall, "op" | "name">, term: string, ellipsis: number): string[] {
  const dots = term.indexOf("...");
  const letters = dots < 0 ? term : term.slice(0, dots) + term.slice(dots + 3);
  if (!/^[A-Za-z]*$/.test(letters)) throw badShape(call, `"${term}" is no list of letters`);
  if (dots < 0) return [...letters];
  const inner = Array.from({ length: ellipsis }, (_, i) => `${ellipsis - 1 - i}`);
  return [...term.slice(0, dots), ...inner, ...term.slice(dots + 3)];
}

function parse(call: Pick<OpCall, "op" | "name" | "attributes">, shapes: readonly (readonly Dim[])[]): Equation {
  const equation = textOf(call, "equation", "").replaceAll(" ", "");
  const [left, right, more] = equation.split("->");
  const terms = left.split(",");
  if (more !== undefined || terms.length !== shapes.length) {
    throw badShape(call, `"${equation}" does not describe ${shapes.length} operands`);
  }
  const ellipses = terms.map((term, index) => (term.includes("...") ? shapes[index].length - (term.length - 3) : 0));
  if (ellipses.some((count) => count < 0)) throw badShape(call, `"${equation}" names more axes than its operands have`);
  const operands = terms.map((term, index) => labelsOf(call, term, ellipses[index]));
  const sizes = new Map<string, Dim>();
  for (const [index, labels] of operands.entries()) {
    if (labels.length !== shapes[index].length) {
      throw badShape(call, `"${terms[index]}" does not name the axes of [${shapes[index]}]`);
    }
    for (const [axis, label] of labels.entries()) {
      const size = broadcastDim(sizes.get(label) ?? 1, shapes[index][axis]);
      if (size === undefined)
        throw badShape(call, `"${label}" of "${equation}" has sizes ${sizes.get(label)} and ${shapes[index][axis]}`);
      sizes.set(label, size);
    }
  }
  const widest = Math.max(0, ...ellipses);
  const all = operands.flat();
  const once = [...new Set(all)].filter((label) => !/\d/.test(label) && all.indexOf(label) === all.lastIndexOf(label));
  const result =
    right === undefined ? [...labelsOf(call, "...", widest), ...once.sort()] : labelsOf(call, right, widest);
  for (const label of result)
    if (!sizes.has(label)) throw badShape(call, `"${label}" of "${equation}" is in no operand`);
  if (new Set(result).size !== result.length) throw badShape(call, `"${equation}" repeats a letter of the result`);
  return { operands, result, sizes };
}

interface Labelled {
  readonly value: Value;
  readonly labels: readonly string[];
}

/** Axes in another order, by label. */
function arranged({ value, labels }: Labelled, order: readonly string[]): Value {
  const perm = order.map((label) => labels.indexOf(label));
  return perm.every((axis, at) => axis === at) ? value : transpose(value, perm);
}

/** Axes that share a label become the one of their diagonal. */
function diagonal({ value, labels }: Labelled): Labelled {
  const second = labels.findIndex((label, axis) => labels.indexOf(label) !== axis);
  if (second < 0) return { value, labels };
  const first = labels.indexOf(labels[second]);
  const rest = labels.flatMap((_, axis) => (axis === first || axis === second ? [] : [axis]));
  const size = value.shape[first] as number;
  const outer = rest.map((axis) => value.shape[axis] as number);
  const flat = reshape(transpose(value, [...rest, first, second]), [...outer, size * size]);
  const picked = slice(flat, { starts: [0], ends: [size * size], axes: [outer.length], steps: [size + 1] });
  return diagonal({ value: picked, labels: [...rest.map((axis) => labels[axis]), labels[first]] });
}

/** Sums the axes that nobody needs. */
function summed({ value, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const axes = labels.flatMap((label, axis) => (needed.has(label) ? [] : [axis]));
  if (axes.length === 0) return { value, labels };
  return { value: reduceSum(value, axes, false), labels: labels.filter((label) => needed.has(label)) };
}

/** Two operands as one batched matrix product: [batch, left, inner] x [batch, inner, right]. */
function contract(a: Labelled, b: Labelled, needed: ReadonlySet<string>, sizes: ReadonlyMap<string, number>): Labelled {
  const shared = a.labels.filter((label) => b.labels.includes(label));
  const batch = shared.filter((label) => needed.has(label));
  const inner = shared.filter((label) => !needed.has(label));
  const left = a.labels.filter((label) => !shared.includes(label));
  const right = b.labels.filter((label) => !shared.includes(label));
  const count = (labels: readonly string[]) => labels.reduce((product, label) => product * (sizes.get(label) ?? 1), 1);
  const matrices = [count(batch), count(left), count(inner), count(right)];
  const x = reshape(arranged(a, [...batch, ...left, ...inner]), [matrices[0], matrices[1], matrices[2]]);
  const y = reshape(arranged(b, [...batch, ...inner, ...right]), [matrices[0], matrices[2], matrices[3]]);
  const product = inner.length === 0 ? mul(x, y) : matMul(x, y);
  const labels = [...batch, ...left, ...right];
  return {
    value: reshape(
      product,
      labels.map((label) => sizes.get(label) ?? 1),
    ),
    labels,
  };
}

/** Einsum as diagonals, sums, matrix products and a transposition, operands from the left. */
export const einsumByParts: Decomposition = (call) => {
  const values = call.inputs as readonly Value[];
  const { operands, result, sizes } = parse(
    call,
    values.map((value) => value.shape),
  );
  const numbers = new Map<string, number>();
  for (const [label, size] of sizes) {
    if (typeof size !== "number") throw badShape(call, `the size "${size}" of "${label}" is not known`);
    numbers.set(label, size);
  }
  const full = values.map((value, index): Labelled => {
    const labels = operands[index];
    const wide = labels.map((label) => numbers.get(label) as number);
    return diagonal({ value: `${wide}` === `${value.shape}` ? value : expand(value, wide), labels });
  });
  const neededAfter = (index: number) => new Set([...result, ...full.slice(index + 1).flatMap((each) => each.labels)]);
  const alone = (index: number) =>
    new Set([...result, ...full.flatMap((each, other) => (other === index ? [] : each.labels))]);
  let total = summed(full[0], alone(0));
  for (let index = 1; index < full.length; index++) {
    total = contract(total, summed(full[index], alone(index)), neededAfter(index), numbers);
  }
  return [arranged(total, result)];
};

/** Sums of products over named axes. */
export const einsumOps = /* @__PURE__ */ defineOps({
  Einsum: {
    inputs: [1, Number.POSITIVE_INFINITY],
    infer(call) {
      requireFloat(call, 0);
      const shapes = call.inputs.map((_, index) => inputOf(call, index).shape);
      const { result, sizes } = parse(call, shapes);
      return [{ dtype: sameDtype(call), shape: result.map((label) => sizes.get(label) ?? 1) }];
    },
    evaluate: byParts(einsumByParts),
    samples: [
      {
        inputs: [
          [2, 3],
          [3, 4],
        ],
        attributes: { equation: text("ij,jk->ik") },
      },
      {
        inputs: [
          [2, 3, 4],
          [2, 5, 4],
        ],
        attributes: { equation: text("...qd,...kd->...qk") },
      },
      { inputs: [[3, 3]], attributes: { equation: text("ii->i") } },
      { inputs: [[2, 3], [3, 2], [2]], attributes: { equation: text("ij,jk,k->i") } },
    ],
  },
});

/** A sum of products by its equation: "bij,bjk->bik". */
export function einsum(equation: string, ...operands: Tensor[]): Tensor;
export function einsum(equation: string, ...operands: Value[]): Value;
export function einsum(equation: string, ...operands: Value[]): Value {
  return applyOne(ruleOf(einsumOps, "Einsum"), operands, { equation: text(equation) });
}
