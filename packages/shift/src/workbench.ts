import type { CompileOptions, Program, Runtime } from "@loomweight/graph";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import type { ShiftState } from "./define.ts";

/** Graphs kept compiled at a time, each for one shape of batch. */
const mostPrograms = 24;
/** Benches kept at a time. */
const mostBenches = 8;

/**
 * What a method keeps in the runtime for one classifier and one set of options: compiled graphs, and the tensors that
 * they read. It is a cache: with it or without, an update is a function of state and batch.
 */
export interface Workbench {
  /** A compiled graph, by a key that tells batches of another shape apart. Call it inside `use`. */
  program(key: string, build: () => CompileOptions): Promise<Program>;
  /**
   * Runs `work` after the works before it, with the state's tensors in the runtime; they are only sent there where
   * they are not those that the last `advance` left. Throws `STATE_MISMATCH`.
   */
  use<T>(state: ShiftState, work: () => Promise<T>): Promise<T>;
  /** The state that the runs inside this `use` have led to; `plain` replaces what is no tensor. */
  advance<S extends ShiftState>(plain: Readonly<Record<string, number>>): Promise<S>;
  close(): Promise<void>;
}

/** The tensors a bench holds in the runtime. */
export interface BenchTensors {
  /** Those of every state: what a state has to fit. */
  readonly start: ShiftState;
  /** Those that no update changes; default none. */
  readonly fixed?: Readonly<Record<string, Tensor>>;
}

/** The benches of a classifier, by what they are made for. */
export interface Workbenches {
  get(key: object, make: () => Promise<BenchTensors>): Promise<Workbench>;
  close(): Promise<void>;
}

export function createWorkbenches(runtime: Runtime): Workbenches {
  const benches = new Map<object, Promise<Workbench>>();
  const drop = async (key: object) => {
    const bench = await benches.get(key);
    benches.delete(key);
    await bench?.close();
  };
  return {
    async get(key, make) {
      const known = benches.get(key);
      if (known !== undefined) return known;
      const made = make().then((tensors) => createWorkbench(runtime, tensors));
      benches.set(key, made);
      made.catch(() => benches.delete(key));
      const [oldest] = benches.keys();
      if (benches.size > mostBenches) await drop(oldest);
      return made;
    },
    async close() {
      for (const key of [...benches.keys()]) await drop(key);
    },
  };
}

async function createWorkbench(runtime: Runtime, { start, fixed = {} }: BenchTensors): Promise<Workbench> {
  const programs = new Map<string, Promise<Program>>();
  const all = { ...fixed, ...tensorsOf(start) };
  const held = Object.keys(all).length === 0 ? undefined : await runtime.state(all);
  const names = Object.keys(tensorsOf(start));
  /** The state whose tensors are the ones held. */
  let resident: ShiftState | undefined;
  let last: Promise<unknown> = Promise.resolve();

  const place = async (state: ShiftState) => {
    if (resident === state) return;
    resident = undefined;
    const tensors = tensorsOf(state);
    checkFits(tensors, tensorsOf(start));
    await held?.write(tensors);
    resident = state;
  };

  return {
    async program(key, build) {
      let program = programs.get(key);
      if (program === undefined) {
        program = runtime.compile(build(), held);
        program.catch(() => programs.delete(key));
      }
      // The one used last stays longest.
      programs.delete(key);
      programs.set(key, program);
      const [oldest] = programs.keys();
      if (programs.size > mostPrograms) {
        const old = programs.get(oldest);
        programs.delete(oldest);
        await (await old)?.close();
      }
      return program;
    },
    use(state, work) {
      const next = last.then(async () => {
        await place(state);
        try {
          return await work();
        } catch (cause) {
          resident = undefined; // a run may have changed what is held
          throw cause;
        }
      });
      last = next.catch(() => {});
      return next;
    },
    async advance<S extends ShiftState>(plain: Readonly<Record<string, number>>) {
      const tensors = held === undefined ? {} : await held.read(names);
      const next = { ...resident, ...tensors, ...plain } as ShiftState;
      resident = next;
      return next as S;
    },
    async close() {
      await last;
      for (const program of programs.values()) await (await program.catch(() => undefined))?.close();
      programs.clear();
      await held?.close();
    },
  };
}

/** The tensors among what a state holds. */
export function tensorsOf(state: ShiftState): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(state).filter((entry): entry is [string, Tensor] => typeof entry[1] === "object"),
  );
}

function checkFits(tensors: Readonly<Record<string, Tensor>>, expected: Readonly<Record<string, Tensor>>): void {
  const told = (tensor: Tensor | undefined) => (tensor === undefined ? "none" : `${tensor.dtype} [${tensor.shape}]`);
  const wrong = [...new Set([...Object.keys(expected), ...Object.keys(tensors)])].find(
    (name) => told(expected[name]) !== told(tensors[name]),
  );
  if (wrong === undefined) return;
  throw new LoomweightError({
    code: "STATE_MISMATCH",
    problem: "the state is not one of this method on this classifier",
    tensor: wrong,
    expected: told(expected[wrong]),
    found: told(tensors[wrong]),
    fix: "Give a state that this method made for this model with the same options.",
  });
}
