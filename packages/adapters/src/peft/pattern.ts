import { LoomweightError } from "@loomweight/tensor";
import { isWordCharacter, type PatternNode, type PatternPlace, parsePattern } from "./pattern-syntax.ts";

/** A regular expression in Python's syntax, matched in time linear in pattern × text: no pattern can hang. */
export interface Pattern {
  /** `re.fullmatch` */
  matchesWhole(text: string): boolean;
  /** `re.match`: from the start, to wherever it ends. */
  matchesStart(text: string): boolean;
  /** The same from another place (in characters); what stands before it still counts for positions and lookbehinds. */
  matchesAt(text: string, start: number): boolean;
}

type Instruction =
  | { readonly op: "character"; readonly test: (code: number) => boolean }
  | { readonly op: "split"; readonly first: number; readonly second: number }
  | { readonly op: "position"; readonly at: (PatternNode & { kind: "position" })["at"] }
  | {
      readonly op: "look";
      readonly behind: boolean;
      readonly negated: boolean;
      readonly program: readonly Instruction[];
    }
  | { readonly op: "accept" };

const maximalInstructions = 20_000;
/** Steps that matching may still take, over all texts and all patterns that share it. */
export interface PatternBudget {
  steps: number;
}

/** Far above what sane patterns on the module paths of a model need; a few seconds. */
export function patternBudget(): PatternBudget {
  return { steps: 40_000_000 };
}

/** Compiles a Python regular expression. Throws `INVALID_PATTERN`, `UNSUPPORTED_PATTERN` or `PATTERN_TOO_COMPLEX`. */
export function compilePattern(pattern: string, place: PatternPlace, budget = patternBudget()): Pattern {
  const tooComplex = () =>
    new LoomweightError({
      code: "PATTERN_TOO_COMPLEX",
      problem: "the pattern is too complex to be matched in reasonable time",
      found: JSON.stringify(pattern.slice(0, 200)),
      fix: "Shorten the counted repeats, or list the modules by name.",
      ...place,
    });
  const program = compileProgram(parsePattern(pattern, place), { left: maximalInstructions }, tooComplex);
  return {
    matchesWhole: (text) => run(program, text, 0, true, budget, tooComplex),
    matchesStart: (text) => run(program, text, 0, false, budget, tooComplex),
    matchesAt: (text, start) => run(program, text, start, false, budget, tooComplex),
  };
}

function compileProgram(tree: PatternNode, budget: { left: number }, tooComplex: () => Error): Instruction[] {
  const program: Instruction[] = [];
  const emit = (instruction: Instruction) => {
    if (--budget.left < 0) throw tooComplex();
    return program.push(instruction) - 1;
  };
  const split = (body: () => void, loop: boolean) => {
    const fork = emit({ op: "split", first: 0, second: 0 });
    body();
    const back = loop ? emit({ op: "split", first: fork, second: fork }) : undefined;
    program[fork] = { op: "split", first: fork + 1, second: back === undefined ? program.length : back + 1 };
  };
  const compile = (node: PatternNode): void => {
    switch (node.kind) {
      case "character":
        emit({ op: "character", test: node.test });
        return;
      case "sequence":
        for (const part of node.parts) compile(part);
        return;
      case "choice": {
        const jumps: number[] = [];
        for (const option of node.options.slice(0, -1)) {
          const fork = emit({ op: "split", first: 0, second: 0 });
          compile(option);
          jumps.push(emit({ op: "split", first: 0, second: 0 }));
          program[fork] = { op: "split", first: fork + 1, second: program.length };
        }
        compile(node.options[node.options.length - 1]);
        for (const jump of jumps) program[jump] = { op: "split", first: program.length, second: program.length };
        return;
      }
      case "repeat": {
        const before = budget.left;
        for (let count = 0; count < node.min; count++) {
          compile(node.body);
          // A body without instructions repeats to nothing: the count alone must not cost time.
          if (budget.left === before) return;
        }
        if (node.max === Number.POSITIVE_INFINITY) split(() => compile(node.body), true);
        else {
          for (let count = node.min; count < node.max; count++) split(() => compile(node.body), false);
        }
        return;
      }
      case "position":
        emit({ op: "position", at: node.at });
        return;
      case "look":
        emit({
          op: "look",
          behind: node.behind,
          negated: node.negated,
          program: compileProgram(node.body, budget, tooComplex),
        });
    }
  };
  compile(tree);
  emit({ op: "accept" });
  return program;
}

function run(
  program: readonly Instruction[],
  text: string,
  start: number,
  whole: boolean,
  budget: PatternBudget,
  tooComplex: () => Error,
): boolean {
  const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
  const looks = new Map<Instruction, Map<number, boolean>>();

  const holds = (at: (PatternNode & { kind: "position" })["at"], position: number): boolean => {
    if (at === "start") return position === 0;
    if (at === "strictEnd") return position === codes.length;
    if (at === "end") return position === codes.length || (position === codes.length - 1 && codes[position] === 10);
    const before = position > 0 && isWordCharacter(codes[position - 1]);
    const after = position < codes.length && isWordCharacter(codes[position]);
    return (before !== after) === (at === "boundary");
  };

  const looksAt = (look: Instruction & { op: "look" }, position: number): boolean => {
    const known = looks.get(look) ?? new Map<number, boolean>();
    looks.set(look, known);
    const answer = known.get(position);
    if (answer !== undefined) return answer;
    let found = false;
    if (look.behind) {
      for (let begin = position; begin >= 0 && !found; begin--) {
        found = reaches(look.program, begin, (end) => end === position);
      }
    } else {
      found = reaches(look.program, position, () => true);
    }
    known.set(position, found !== look.negated);
    return found !== look.negated;
  };

  // Every (instruction, position) is visited once: no backtracking, whatever the pattern.
  const reaches = (code: readonly Instruction[], begin: number, accepts: (position: number) => boolean): boolean => {
    const width = codes.length + 1;
    budget.steps -= (code.length * width) >> 4; // clearing `seen`
    if (budget.steps < 0) throw tooComplex();
    const seen = new Uint8Array(code.length * width);
    const stack = [0, begin];
    while (stack.length > 0) {
      const position = stack.pop() as number;
      const at = stack.pop() as number;
      if (seen[at * width + position] === 1) continue;
      seen[at * width + position] = 1;
      if (--budget.steps < 0) throw tooComplex();
      const instruction = code[at];
      if (instruction.op === "accept") {
        if (accepts(position)) return true;
      } else if (instruction.op === "character") {
        if (position < codes.length && instruction.test(codes[position])) stack.push(at + 1, position + 1);
      } else if (instruction.op === "split") {
        stack.push(instruction.first, position, instruction.second, position);
      } else if (instruction.op === "position") {
        if (holds(instruction.at, position)) stack.push(at + 1, position);
      } else if (looksAt(instruction, position)) {
        stack.push(at + 1, position);
      }
    }
    return false;
  };
  return reaches(program, start, whole ? (position) => position === codes.length : () => true);
}
