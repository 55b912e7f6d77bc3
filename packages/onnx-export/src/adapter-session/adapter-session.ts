import type { GraphName } from "@loomweight/models";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { type AdapterSlots, slotInputs, slotsOfGraph } from "../slots/slots.ts";
import { type AdapterSet, createAdapterSet } from "./adapter-set.ts";

/** Tensors by name, whatever the session's kind of tensor is. */
type Values = Readonly<Record<string, unknown>>;

/** What a session of this project, of onnxruntime-node or of onnxruntime-web is used by. */
export interface AnySession {
  // biome-ignore lint/suspicious/noExplicitAny: every library has a type of its own for what is fed
  run(feeds: any, ...rest: any[]): Promise<any>;
  /** onnxruntime's: names of the inputs. */
  readonly inputNames?: readonly string[];
  /** This project's: the inputs. */
  readonly inputs?: readonly { readonly name: string }[];
}

/** onnxruntime's Tensor, or that of transformers.js around it. */
export type TensorClass = new (type: never, data: never, dims: never) => object;

export interface AdapterSessionOptions {
  /** Which graph of the export the session runs; default "model". */
  readonly graph?: GraphName;
  /**
   * `Tensor` of onnxruntime-node, onnxruntime-web or @huggingface/transformers, whichever made the session; default: the
   * session is one of this project and takes its tensors.
   */
  readonly Tensor?: TensorClass;
  /** Adapters that several sessions share; default a set of its own. */
  readonly adapters?: AdapterSet;
}

/** A session whose adapters are chosen while it runs. */
export interface AdapterControl extends Pick<AdapterSet, "load" | "use" | "unload" | "names" | "inUse"> {}

/**
 * The session with adapters: its slots are fed by it, everything else is the session's own. `run(feeds)` takes the feeds
 * of the model without slots. Choosing another adapter makes no new session and no copy of the model.
 *
 * Throws `NO_ADAPTER_SLOT` when the session has no slots, or others than described.
 */
export function createAdapterSession<S extends AnySession>(
  session: S,
  slots: AdapterSlots,
  options: AdapterSessionOptions = {},
): S & AdapterControl {
  const { graph = "model", Tensor, adapters = createAdapterSet(slots) } = options;
  const slotNames = new Set(slotInputs(slots, graph));
  const names = session.inputNames ?? session.inputs?.map(({ name }) => name) ?? [];
  checkInputs(names, slots, slotNames, graph);
  const own = names.filter((name) => !slotNames.has(name));
  const makeTensor = Tensor === undefined ? undefined : tensorMaker(Tensor);
  /** Tensors of the session's kind for the inputs that are fed unchanged until another adapter is chosen. */
  const made = new WeakMap<Tensor, unknown>();
  const toNative = (tensor: Tensor): unknown => {
    if (makeTensor === undefined) return tensor;
    const known = made.get(tensor) ?? makeTensor(tensor);
    made.set(tensor, known);
    return known;
  };
  const run = (feeds: Values, ...rest: unknown[]) => {
    const fed: Record<string, unknown> = { ...feeds };
    for (const [name, tensor] of Object.entries(adapters.inputs(graph, rowsOf(feeds, own))))
      fed[name] = toNative(tensor);
    return session.run(fed, ...rest);
  };
  const { load, use, unload, names: loaded, inUse } = adapters;
  const methods = { run, load, use, unload, names: loaded, inUse };
  const described =
    session.inputNames !== undefined
      ? { inputNames: own }
      : { inputs: session.inputs?.filter(({ name }) => !slotNames.has(name)) };
  const properties = Object.entries({ ...methods, ...described }).map(
    ([name, value]) => [name, { value, enumerable: true }] as const,
  );
  // what is not said here (outputs, release, close) is the session's own
  return Object.create(session, Object.fromEntries(properties));
}

/** A session that is part of a model of transformers.js. */
interface TransformersModel {
  sessions: Record<string, unknown>;
}

/**
 * Gives a model of transformers.js (or a pipeline's `model`) adapters: its sessions are replaced by sessions that feed
 * their slots; generation and pipelines work on unchanged. `Tensor` is transformers.js' own.
 */
export function addAdapters(
  model: object,
  slots: AdapterSlots,
  { Tensor }: { readonly Tensor: TensorClass },
): AdapterControl {
  const { sessions } = model as Partial<TransformersModel>;
  if (typeof sessions !== "object" || sessions === null) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "this is no model of transformers.js: it has no sessions",
      option: "model",
      fix: "Give what from_pretrained returned, or the `model` of a pipeline.",
    });
  }
  const adapters = createAdapterSet(slots);
  // transformers.js calls the only session, and the encoder of an encoder–decoder, "model"
  const graphOf = (name: string, session: AnySession): GraphName | undefined => {
    const inputs = session.inputNames ?? [];
    const graphs = new Set(Object.values(slots.modules).flatMap(({ graphs: each }) => each));
    const having = [...graphs].filter((graph) => slotInputs(slots, graph).every((input) => inputs.includes(input)));
    return having.find((graph) => graph === name) ?? having[0];
  };
  let served = 0;
  for (const [name, session] of Object.entries(sessions)) {
    const graph = graphOf(name, session as AnySession);
    if (graph === undefined) continue;
    sessions[name] = createAdapterSession(session as AnySession, slots, { graph, Tensor, adapters });
    served++;
  }
  if (served === 0) throw noSlots("no session of the model has", Object.keys(slots.modules)[0]);
  const { load, use, unload, names, inUse } = adapters;
  return { load, use, unload, names, inUse };
}

function checkInputs(
  names: readonly string[],
  slots: AdapterSlots,
  slotNames: ReadonlySet<string>,
  graph: GraphName,
): void {
  if (slotsOfGraph(slots, graph).length === 0) throw noSlots(`the graph "${graph}" has no slots, and so not`, "");
  const missing = [...slotNames].find((name) => !names.includes(name));
  if (missing !== undefined) throw noSlots("the session does not have", missing);
}

function noSlots(what: string, input: string): LoomweightError {
  return new LoomweightError({
    code: "NO_ADAPTER_SLOT",
    problem: `${what} the inputs that adapter_slots.json describes`,
    expected: input === "" ? undefined : `the input "${input}"`,
    fix: "Take graph and description from one export with adapter slots.",
  });
}

/** Rows of the batch: the first size of the first input that is fed. */
function rowsOf(feeds: Values, names: readonly string[]): number {
  for (const name of names) {
    const value = feeds[name] as { dims?: readonly number[]; shape?: readonly number[] } | undefined;
    const rows = (value?.dims ?? value?.shape)?.[0];
    if (rows !== undefined) return rows;
  }
  return 1;
}

function tensorMaker(Tensor: TensorClass): (tensor: Tensor) => unknown {
  return ({ dtype, data, shape }) => {
    const made = new Tensor(dtype as never, data as never, shape as never);
    // transformers.js wraps onnxruntime's tensor, which is what sessions take
    return (made as { ort_tensor?: unknown }).ort_tensor ?? made;
  };
}
