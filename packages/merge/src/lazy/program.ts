import type { Kernels } from "@loomweight/kernels";
import type { TileSource } from "./engine.ts";
import { type LazyNode, type LazyTensor, operandsOf } from "./lazy-tensor.ts";

/** Expressions compiled to steps over registers: each node is computed once a block, however often it is used. */
export interface Program {
  /**
   * Evaluates elements [start, start + count) of every root, `count` at most the block size. `codesOf` gives the codes
   * of a source for exactly these elements. The arrays returned are registers: use them before the next run.
   */
  run(start: number, count: number, codesOf: (source: TileSource) => Uint8Array): readonly Float64Array[];
}

interface Step {
  readonly out: number;
  readonly inputs: readonly number[];
  readonly node: LazyNode;
  /** Per operand: a source used nowhere else whose codes are taken as they are, without being loaded first. */
  readonly direct: readonly (TileSource | undefined)[];
  /** Working registers of an elementwise node. */
  readonly scratch: readonly number[];
}

/** Compiles `roots`; registers come from `kernels` and live until the caller releases its mark. */
export function compile(roots: readonly LazyTensor[], kernels: Kernels, blockSize: number): Program {
  const uses = countUses(roots);
  const registers: Float64Array[] = [];
  const free: number[] = [];
  const steps: Step[] = [];
  const registerOf = new Map<LazyNode, number>();
  const remaining = new Map(uses);
  const newRegister = (isConstant = false): number => {
    // Filled once, a constant must not live where steps write.
    const reused = isConstant ? undefined : free.pop();
    if (reused !== undefined) return reused;
    const bytes = kernels.allocate(blockSize * 8);
    registers.push(new Float64Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, blockSize));
    return registers.length - 1;
  };
  const constants = new Set<LazyNode>();
  const release = (node: LazyNode): void => {
    const left = (remaining.get(node) ?? 0) - 1;
    remaining.set(node, left);
    if (left === 0 && !constants.has(node)) free.push(registerOf.get(node) as number);
  };
  const visit = ({ node }: LazyTensor): number => {
    const known = registerOf.get(node);
    if (known !== undefined) return known;
    const operands = operandsOf(node);
    const takesCodes = (index: number) => node.kind === "sum" || (node.kind === "difference" && index === 0);
    const direct = operands.map((tensor, index) =>
      takesCodes(index) && tensor.node.kind === "source" && uses.get(tensor.node) === 1
        ? tensor.node.source
        : undefined,
    );
    const inputs = operands.map((tensor, index) => (direct[index] === undefined ? visit(tensor) : -1));
    const out = newRegister(node.kind === "constant");
    registerOf.set(node, out);
    if (node.kind === "constant") {
      constants.add(node);
      kernels.fill(registers[out], node.value);
    } else {
      const scratch = Array.from({ length: node.kind === "elementwise" ? node.scratch : 0 }, () => newRegister());
      steps.push({ out, inputs, node, direct, scratch });
      free.push(...scratch);
    }
    operands.forEach((tensor, index) => {
      if (direct[index] === undefined) release(tensor.node);
    });
    return out;
  };
  const results = roots.map(visit);
  return {
    run(start, count, codesOf) {
      const views = count === blockSize ? registers : registers.map((register) => register.subarray(0, count));
      for (const step of steps) runStep(kernels, step, views, start, codesOf);
      return results.map((register) => views[register]);
    },
  };
}

function runStep(
  kernels: Kernels,
  { node, out, inputs, direct, scratch }: Step,
  registers: readonly Float64Array[],
  start: number,
  codesOf: (source: TileSource) => Uint8Array,
): void {
  const result = registers[out];
  if (node.kind === "source") kernels.load(result, node.source.dtype, codesOf(node.source));
  else if (node.kind === "difference") {
    const [source] = direct;
    const b = registers[inputs[1]];
    if (source === undefined) kernels.subtract(result, registers[inputs[0]], b);
    else kernels.subtractFromCodes(result, source.dtype, codesOf(source), b);
  } else if (node.kind === "elementwise") {
    node.apply(
      kernels,
      result,
      inputs.map((input) => registers[input]),
      start,
      scratch.map((register) => registers[register]),
    );
  } else if (node.kind === "sum") {
    // -0 is the neutral element of addition: a sum of negative zeros stays a negative zero.
    kernels.fill(result, -0);
    node.terms.forEach(({ weight }, index) => {
      const source = direct[index];
      if (source === undefined) kernels.addScaled(result, registers[inputs[index]], weight);
      else kernels.addScaledCodes(result, source.dtype, codesOf(source), weight);
    });
  }
}

/** How often each node is used: by other nodes, and once for being a root. */
function countUses(roots: readonly LazyTensor[]): Map<LazyNode, number> {
  const uses = new Map<LazyNode, number>();
  const visit = ({ node }: LazyTensor): void => {
    const before = uses.get(node) ?? 0;
    uses.set(node, before + 1);
    if (before === 0) operandsOf(node).forEach(visit);
  };
  roots.forEach(visit);
  return uses;
}
