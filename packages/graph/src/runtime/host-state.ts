import { type Engine, type EngineSession, type EngineTensor, engineTensor, openEngineSession } from "./engine.ts";
import type { HostSettings, WireTensor } from "./protocol.ts";

/** One tensor of a state. */
export interface Slot {
  current: EngineTensor;
  /** What it was before the latest update; on the CPU the memory that the next one writes. */
  spare?: EngineTensor;
}

/** The tensors of one state, where the engine keeps them. */
export interface HostState {
  readonly slots: Map<string, Slot>;
  /** Names that the latest run replaced, as long as that can be taken back. */
  updated: readonly string[];
}

/** A tensor of a state; the caller's side has checked the name. */
export function slotOf(state: HostState | undefined, name: string): Slot {
  const slot = state?.slots.get(name);
  if (slot === undefined) throw new Error(`the state has no tensor "${name}"; it is closed`);
  return slot;
}

/** Moves tensors between the caller, the CPU and the device. */
export interface Mover {
  /** Puts a tensor where states live. */
  place(tensor: WireTensor): Promise<EngineTensor>;
  /** A copy in memory of its own. */
  read(tensor: EngineTensor): Promise<WireTensor>;
  copy(tensor: EngineTensor): Promise<EngineTensor>;
  /** Memory that an output like `tensor` may be written to; undefined where outputs are always new. */
  blank(tensor: EngineTensor): EngineTensor | undefined;
  close(): Promise<void>;
}

export function createMover(engine: Engine, settings: HostSettings): Mover {
  const onDevice = settings.onDevice;
  const identities = new Map<string, Promise<EngineSession>>();
  /** Reading and uploading go through a graph that does nothing: the one way that every engine has. */
  const through = async (tensor: EngineTensor, to: "cpu" | "gpu-buffer") => {
    const key = `${tensor.type} ${to}`;
    let session = identities.get(key);
    if (session === undefined) {
      session = openIdentity(engine, settings, tensor, to);
      identities.set(key, session);
    }
    return (await (await session).run({ x: tensor }, ["y"])).y;
  };
  const copyOf = (data: unknown) => (Array.isArray(data) ? [...data] : (data as Float32Array).slice());
  const holdsNothing = (tensor: { readonly dims: readonly number[] }) => tensor.dims.includes(0);
  return {
    async place(wire) {
      const tensor = engineTensor(engine, wire);
      return onDevice && !holdsNothing(wire) ? through(tensor, "gpu-buffer") : tensor;
    },
    async read(tensor) {
      const { type, dims } = tensor;
      if (tensor.location === "cpu") return { type, dims: [...dims], data: copyOf(tensor.data) };
      const data = engine.readsDevice ? await tensor.getData() : copyOf((await through(tensor, "cpu")).data);
      return { type, dims: [...dims], data: data as ArrayBufferView };
    },
    async copy(tensor) {
      if (tensor.location !== "cpu") return through(tensor, "gpu-buffer");
      return engineTensor(engine, { type: tensor.type, dims: [...tensor.dims], data: copyOf(tensor.data) });
    },
    blank(tensor) {
      if (!engine.writesInPlace || tensor.location !== "cpu" || Array.isArray(tensor.data)) return undefined;
      const like = tensor.data as Float32Array;
      const data = new (like.constructor as Float32ArrayConstructor)(like.length);
      return engineTensor(engine, { type: tensor.type, dims: tensor.dims, data });
    },
    async close() {
      for (const session of identities.values()) await (await session).release();
      identities.clear();
    },
  };
}

async function openIdentity(
  engine: Engine,
  settings: HostSettings,
  { type }: EngineTensor,
  to: "cpu" | "gpu-buffer",
): Promise<EngineSession> {
  return openEngineSession(engine, settings.identities[type], {
    ...settings.sessionOptions,
    executionProviders: [...settings.providers],
    preferredOutputLocation: { y: to },
  });
}

export async function createHostState(tensors: Record<string, WireTensor>, mover: Mover): Promise<HostState> {
  const slots = new Map<string, Slot>();
  for (const [name, tensor] of Object.entries(tensors)) slots.set(name, { current: await mover.place(tensor) });
  return { slots, updated: [] };
}

export async function copyHostState(state: HostState, mover: Mover): Promise<HostState> {
  const slots = new Map<string, Slot>();
  for (const [name, { current }] of state.slots) slots.set(name, { current: await mover.copy(current) });
  return { slots, updated: [] };
}

/** Takes back the latest update; whether there was one. */
export function undoUpdate(state: HostState): boolean {
  if (state.updated.length === 0) return false;
  for (const name of state.updated) {
    const slot = state.slots.get(name);
    if (slot?.spare === undefined) continue;
    [slot.current, slot.spare] = [slot.spare, slot.current];
  }
  state.updated = [];
  return true;
}

/** Makes a run's outputs the present values; what they replace becomes the memory of the next run. */
export function replaceTensors(state: HostState, next: ReadonlyMap<string, EngineTensor>): void {
  for (const [name, tensor] of next) {
    const slot = slotOf(state, name);
    // What onnxruntime-node gives back for memory it was handed is another object over the same memory.
    slot.spare = slot.current;
    slot.current = tensor;
  }
  state.updated = [...next.keys()];
}

/** Frees what lives on the device. */
export function freeTensor(tensor: EngineTensor | undefined): void {
  if (tensor !== undefined && tensor.location !== "cpu") tensor.dispose();
}

export function freeState(state: HostState): void {
  for (const { current, spare } of state.slots.values()) {
    freeTensor(current);
    freeTensor(spare);
  }
  state.slots.clear();
}
