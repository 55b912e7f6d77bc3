/** File name and content of a new method. */
export interface NewFile {
  readonly name: string;
  readonly content: string;
}

/** "my-method" → "myMethod" */
export function camelCase(name: string): string {
  return name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/**
 * The three files of a merge method under packages/merge/src/methods: a scaled sum of task vectors that passes the
 * contract, ready to be changed into what its author means.
 */
export function mergeMethodFiles(name: string): NewFile[] {
  const exported = camelCase(name);
  return [
    { name: `${name}.ts`, content: methodFile(name, exported) },
    { name: `${name}.test.ts`, content: testFile(name, exported) },
    { name: `${name}.md`, content: pageFile(name) },
  ];
}

function methodFile(name: string, exported: string): string {
  return `import { finite } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { weightedSum } from "../lazy/lazy-tensor.ts";
import { addTaskVector, taskVector } from "../task-vector.ts";

/**
 * ${name}: the task vectors, weighted and added to the base.
 * τᵢ = modelᵢ − base, all of one shape; out = base + λ · Σ wᵢ τᵢ. float64, rounded once.
 * Source: authors and year, arXiv:0000.00000, the equation or algorithm.
 * Differs: what is computed otherwise than there, and why.
 */
export const ${exported} = defineMergeMethod({
  name: "${name}",
  source: "arXiv:0000.00000",
  summary: "Weighted sum of the task vectors, added to the base.",
  needs: { base: "required", models: { min: 1 } },
  inputOptions: { weight: finite(1, "factor of this model's task vector") },
  options: { lambda: finite(1, "scale of the merged task vector") },
  unequalShapes: "base",
  merge({ base, models }, { lambda }) {
    const terms = models.map(({ tensor, options }) => ({ tensor: taskVector(tensor, base), weight: options.weight }));
    return addTaskVector(base, weightedSum(terms), lambda);
  },
});
`;
}

function testFile(name: string, exported: string): string {
  return `import { expectClose, tensor } from "@loomweight/tensor";
import { test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { merge } from "../merge.ts";
import { ${exported} } from "./${name}.ts";

mergeContract(${exported});

test("worked example: numbers from a calculation by hand", async () => {
  const base = tensor([1, 1, 0]);
  const models = [tensor([2, 1, 0]), tensor([1, 3, -4])];
  // base + 0.5 · ((1, 0, 0) + (0, 2, −4))
  expectClose(await merge(${exported}, { base, models }, { lambda: 0.5 }), tensor([1.5, 2, -2]));
});
`;
}

function pageFile(name: string): string {
  return `# ${name}

Weighted sum of the task vectors, added to the base.

**Source.** Authors and year, [arXiv:0000.00000](https://arxiv.org/abs/0000.00000); how well it is known (paper, code,
reconstruction).

**Inputs.** A base and one or more models of one shape. **Output.** A tensor of that shape.

**Algorithm.** τᵢ = modelᵢ − base; out = base + λ · Σ wᵢ τᵢ, in float64, rounded once.

**Options.** \`weight\` (1) of a model: factor of its task vector. \`lambda\` (1): scale of the merged task vector. Values
that are not finite are refused.

**Differs from the source.** Nothing yet.

**Laws.** Models equal to the base give the base. The order of the models does not matter.

**Worked example.** base (1, 1, 0), models (2, 1, 0) and (1, 3, −4), lambda 0.5: (1.5, 2, −2).

**Cost.** One pass over base and models.

**When not to use it.** Say when another method fits better.
`;
}
