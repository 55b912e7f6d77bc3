import { type Engine, type EngineSession, type EngineTensor, engineTensor, openEngineSession } from "./engine.ts";
import {
  copyHostState,
  createHostState,
  createMover,
  freeState,
  freeTensor,
  type HostState,
  type Mover,
  replaceTensors,
  slotOf,
  undoUpdate,
} from "./host-state.ts";
import type { HostQuestion, HostSettings, ProgramPlan, WireTensor } from "./protocol.ts";

/** An answer, and the memory that goes along with it. */
export interface HostAnswer {
  readonly value?: number;
  readonly tensors?: Record<string, WireTensor>;
  readonly transfer: readonly ArrayBuffer[];
}

/** The side of a runtime where onnxruntime lives: holds states and programs and answers questions in order. */
export interface Host {
  answer(question: HostQuestion): Promise<HostAnswer>;
}

interface HostProgram {
  readonly session: EngineSession;
  readonly plan: ProgramPlan;
  readonly state?: HostState;
}

interface Open {
  readonly engine: Engine;
  readonly settings: HostSettings;
  readonly mover: Mover;
}

const nothing: HostAnswer = { transfer: [] };

/** A host over the onnxruntime that `load` gives at the first question. */
export function createHost(load: () => Promise<Engine>): Host {
  let opened: Open | undefined;
  const states = numbered<HostState>();
  const programs = numbered<HostProgram>();
  /** Sessions of closed programs: tensors on the device belong to the session that made them. */
  const retired: EngineSession[] = [];
  const open = () => opened as Open; // "start" comes first
  const answers: { [K in HostQuestion["kind"]]: (question: HostQuestion & { kind: K }) => Promise<HostAnswer> } = {
    async start({ settings }) {
      const engine = await load();
      opened = { engine, settings, mover: createMover(engine, settings) };
      return nothing;
    },
    async state({ tensors }) {
      return { value: states.add(await createHostState(tensors, open().mover)), transfer: [] };
    },
    async read({ state, names }) {
      const tensors: Record<string, WireTensor> = {};
      const held = states.get(state);
      for (const name of names) tensors[name] = await open().mover.read(slotOf(held, name).current);
      return { tensors, transfer: buffersOf(tensors) };
    },
    async write({ state, tensors }) {
      const held = states.get(state);
      for (const [name, tensor] of Object.entries(tensors)) {
        const slot = slotOf(held, name);
        freeTensor(slot.current);
        slot.current = await open().mover.place(tensor);
      }
      held.updated = [];
      return nothing;
    },
    async snapshot({ state }) {
      return { value: states.add(await copyHostState(states.get(state), open().mover)), transfer: [] };
    },
    async undo({ state }) {
      return { value: undoUpdate(states.get(state)) ? 1 : 0, transfer: [] };
    },
    async closeState({ state }) {
      freeState(states.get(state));
      states.remove(state);
      return nothing;
    },
    async compile({ model, externalData, plan, state }) {
      const { engine, settings } = open();
      const locations = Object.fromEntries([
        ...plan.outputs.map((name) => [name, "cpu"]),
        ...plan.updates.map(({ output }) => [output, "gpu-buffer"]),
      ]);
      const session = await openEngineSession(engine, model, {
        ...settings.sessionOptions,
        executionProviders: [...settings.providers],
        ...(externalData.length > 0 && { externalData }),
        ...(settings.onDevice && { preferredOutputLocation: locations }),
      });
      return {
        value: programs.add({ session, plan, state: state === undefined ? undefined : states.get(state) }),
        transfer: [],
      };
    },
    async run({ program, feeds, outputs }) {
      return runProgram(open(), programs.get(program), feeds, outputs);
    },
    async closeProgram({ program }) {
      const { session } = programs.get(program);
      programs.remove(program);
      if (open().settings.onDevice) retired.push(session);
      else await session.release();
      return nothing;
    },
    async close() {
      for (const state of states.all()) freeState(state);
      for (const { session } of programs.all()) await session.release();
      for (const session of retired) await session.release();
      await opened?.mover.close();
      return nothing;
    },
  };
  return {
    answer: (question) => (answers[question.kind] as (each: HostQuestion) => Promise<HostAnswer>)(question),
  };
}

async function runProgram(
  { engine, mover }: Open,
  { session, plan, state }: HostProgram,
  feeds: Record<string, WireTensor>,
  wanted: readonly string[] = plan.outputs,
): Promise<HostAnswer> {
  const given: Record<string, EngineTensor> = {};
  for (const [name, tensor] of Object.entries(feeds)) given[name] = engineTensor(engine, tensor);
  for (const name of plan.stateInputs) given[name] = slotOf(state, name).current;
  const fetches: Record<string, EngineTensor | null> = {};
  for (const name of wanted) fetches[name] = null;
  for (const update of plan.updates) {
    const slot = slotOf(state, update.state);
    if (slot.spare !== undefined && slot.spare.location !== "cpu") {
      freeTensor(slot.spare);
      slot.spare = undefined;
    }
    slot.spare ??= mover.blank(slot.current);
    fetches[update.output] = (engine.writesInPlace && slot.spare) || null;
  }
  if (state !== undefined && plan.updates.length > 0) state.updated = [];
  const results = await session.run(given, fetches);
  const next = new Map<string, EngineTensor>();
  for (const { output, state: name } of plan.updates) next.set(name, fetches[output] ?? results[output]);
  if (state !== undefined && next.size > 0) replaceTensors(state, next);
  const tensors: Record<string, WireTensor> = {};
  for (const name of wanted) tensors[name] = ownOutput(results[name]);
  return { tensors, transfer: buffersOf(tensors) };
}

/** An output as plain data. Memory that is a view of something larger, or of the engine's, cannot be handed over. */
function ownOutput({ type, data, dims }: EngineTensor): WireTensor {
  return { type, dims: [...dims], data: Array.isArray(data) ? data : (data as Float32Array).slice() };
}

function buffersOf(tensors: Record<string, WireTensor>): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = [];
  for (const { data } of Object.values(tensors)) if (!Array.isArray(data)) buffers.push(data.buffer as ArrayBuffer);
  return buffers;
}

/** Things by number. */
function numbered<T>() {
  const held = new Map<number, T>();
  let count = 0;
  return {
    add(thing: T): number {
      held.set(count, thing);
      return count++;
    },
    get(number: number): T {
      const thing = held.get(number);
      if (thing === undefined) throw new Error("it is closed");
      return thing;
    },
    remove: (number: number) => held.delete(number),
    all: () => [...held.values()],
  };
}
