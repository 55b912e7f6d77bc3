import { type DType, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { assemble } from "../assemble.ts";
import { encodeOnnx } from "../codec/write-onnx.ts";
import { input } from "../inputs.ts";
import { checkFeeds, checkType, fromWire, ownWireTensor, wireTensor } from "./feeds.ts";
import { outputPrefix, planProgram } from "./plan.ts";
import type { HostQuestion, HostResponse, HostSettings, WireTensor } from "./protocol.ts";
import type { Program, Runtime, State, StateTensor } from "./runtime.ts";

/** The way to a host. */
export interface HostChannel {
  /** `transfer`: memory that the host may keep. */
  ask(question: HostQuestion, transfer?: readonly ArrayBuffer[]): Promise<HostResponse>;
  /** What to do when onnxruntime itself is missing there. */
  readonly installFix: string;
}

/** What the two forms of onnxruntime are opened with. */
export type RuntimeSettings = Pick<HostSettings, "providers" | "sessionOptions">;

/** The runtime behind a channel. Throws `RUNTIME_MISSING`. */
export async function createRuntimeOver(channel: HostChannel, settings: RuntimeSettings): Promise<Runtime> {
  const states = new WeakMap<State, number>();
  let closing: Promise<void> | undefined;
  const ask = async (question: HostQuestion, code: string, transfer?: readonly ArrayBuffer[]) => {
    if (closing !== undefined && question.kind !== "close") throw closed("the runtime");
    const response = await channel.ask(question, transfer);
    if (response.kind === "done") return response;
    throw hostFault(response, code, channel.installFix);
  };

  const stateOver = (number: number, tensors: ReadonlyMap<string, StateTensor>): State => {
    let open = true;
    const check = (names: Iterable<string>) => {
      if (!open) throw closed("the state");
      for (const name of names) {
        if (tensors.has(name)) continue;
        throw unknownName({ kind: "tensor of the state", name, known: tensors.keys(), code: "UNKNOWN_STATE" });
      }
    };
    const state: State = {
      tensors,
      async read(names = [...tensors.keys()]) {
        check(names);
        const { tensors: wire = {} } = await ask({ kind: "read", state: number, names }, "RUN_FAILED");
        return Object.fromEntries(names.map((name) => [name, fromWire(wire[name], tensors.get(name)?.dtype)]));
      },
      async write(next) {
        check(Object.keys(next));
        for (const [name, tensor] of Object.entries(next)) checkType(name, tensor, tensors.get(name) as StateTensor);
        const { wire, transfer } = sendable(next);
        await ask({ kind: "write", state: number, tensors: wire }, "RUN_FAILED", transfer);
      },
      async snapshot() {
        check([]);
        const { value } = await ask({ kind: "snapshot", state: number }, "RUN_FAILED");
        return stateOver(value as number, tensors);
      },
      async undo() {
        check([]);
        const { value } = await ask({ kind: "undo", state: number }, "RUN_FAILED");
        if (value === 1) return;
        throw new LoomweightError({
          code: "NOTHING_TO_UNDO",
          problem: "no run has updated the state since it was last taken back or written",
        });
      },
      async close() {
        if (!open) return;
        open = false;
        if (closing === undefined) await ask({ kind: "closeState", state: number }, "RUN_FAILED");
      },
    };
    states.set(state, number);
    return state;
  };

  const runtime: Runtime = {
    providers: settings.providers,
    async state(tensors) {
      const types = new Map<string, StateTensor>();
      const wire: Record<string, WireTensor> = {};
      const transfer: ArrayBuffer[] = [];
      for (const [name, given] of Object.entries(tensors)) {
        // One after the other: of those that are read here only the copy that is sent stays in memory.
        const tensor = "read" in given ? await given.read() : given;
        types.set(name, { dtype: tensor.dtype, shape: [...tensor.shape] });
        const one = sendable({ [name]: tensor });
        wire[name] = one.wire[name];
        transfer.push(...one.transfer);
      }
      const { value } = await ask({ kind: "state", tensors: wire }, "RUN_FAILED", transfer);
      return stateOver(value as number, types);
    },
    async compile(options, state) {
      const number = state && states.get(state);
      if (state !== undefined && number === undefined) {
        throw new LoomweightError({ code: "UNKNOWN_STATE", problem: "the state belongs to another runtime" });
      }
      const { model, externalData, plan, inputs, outputs } = await planProgram(options, state?.tensors);
      const { value } = await ask({ kind: "compile", model, externalData, plan, state: number }, "LOAD_FAILED");
      return programOver(value as number, inputs, outputs, ask);
    },
    async evaluate(outputs, feeds = {}, state) {
      const program = await runtime.compile({ outputs, name: "evaluate" }, state);
      try {
        return await program.run(feeds);
      } finally {
        await program.close();
      }
    },
    close() {
      closing ??= channel.ask({ kind: "close" }).then(() => {});
      return closing;
    },
  };
  const onDevice = settings.providers[0] === "webgpu"; // the one provider whose tensors JavaScript can leave there
  const identities = onDevice ? await identityModels() : {};
  await ask({ kind: "start", settings: { ...settings, onDevice, identities } }, "RUN_FAILED");
  return runtime;
}

function programOver(
  number: number,
  inputs: Program["inputs"],
  outputs: readonly { readonly name: string; readonly dtype: DType }[],
  ask: (question: HostQuestion, code: string) => Promise<HostResponse & { kind: "done" }>,
): Program {
  const dtypes = new Map(outputs.map(({ name, dtype }) => [name, dtype]));
  let open = true;
  return {
    inputs,
    async run(feeds = {}, { outputs: wanted, signal } = {}) {
      if (!open) throw closed("the program");
      if (signal?.aborted) {
        throw new LoomweightError({ code: "ABORTED", problem: "the run was aborted", cause: signal.reason });
      }
      checkFeeds(inputs, feeds);
      for (const name of wanted ?? []) {
        if (!dtypes.has(name))
          throw unknownName({ kind: "output", name, known: dtypes.keys(), code: "UNKNOWN_OUTPUT" });
      }
      const wire: Record<string, WireTensor> = {};
      for (const [name, tensor] of Object.entries(feeds)) wire[name] = wireTensor(tensor);
      const fetched = wanted?.map((name) => `${outputPrefix}${name}`);
      const { tensors = {} } = await ask({ kind: "run", program: number, feeds: wire, outputs: fetched }, "RUN_FAILED");
      const results: Record<string, Tensor> = {};
      for (const [full, each] of Object.entries(tensors)) {
        const name = full.slice(outputPrefix.length);
        results[name] = fromWire(each, dtypes.get(name));
      }
      return results;
    },
    async close() {
      if (!open) return;
      open = false;
      await ask({ kind: "closeProgram", program: number }, "RUN_FAILED").catch(ignoreClosed);
    },
  };
}

/** A graph of one Identity for each dtype that lives on devices, of any rank. */
async function identityModels(): Promise<Record<string, Uint8Array>> {
  const models: Record<string, Uint8Array> = {};
  for (const dtype of ["float32", "float16", "int32", "uint32", "int64", "bool", "uint8", "int8", "uint16"] as const) {
    const x = input("x", dtype, []);
    const { graph, ...model } = assemble({ name: "move", inputs: [x], outputs: { y: x } });
    const anyShape = ({ name }: { name: string }) => ({ name, dtype, shape: undefined });
    const open = { ...graph, inputs: graph.inputs.map(anyShape), outputs: graph.outputs.map(anyShape) };
    models[dtype] = await encodeOnnx({ ...model, graph: open });
  }
  return models;
}

/** A closed runtime has closed its programs. */
function ignoreClosed(cause: unknown): void {
  if (!(cause instanceof LoomweightError && cause.code === "RUNTIME_CLOSED")) throw cause;
}

/** The caller's tensors stay the caller's: what is sent is a copy, handed over. */
function sendable(tensors: Readonly<Record<string, Tensor>>): {
  wire: Record<string, WireTensor>;
  transfer: ArrayBuffer[];
} {
  const wire: Record<string, WireTensor> = {};
  const transfer: ArrayBuffer[] = [];
  for (const [name, tensor] of Object.entries(tensors)) {
    wire[name] = ownWireTensor(tensor.dtype === "float16" ? { ...tensor, dtype: "uint16" } : tensor);
    const { data } = wire[name];
    if (!Array.isArray(data)) transfer.push((data as ArrayBufferView).buffer as ArrayBuffer);
  }
  return { wire, transfer };
}

function closed(what: string): LoomweightError {
  return new LoomweightError({ code: "RUNTIME_CLOSED", problem: `${what} is closed` });
}

function hostFault(response: HostResponse & { kind: "failed" }, code: string, installFix: string): LoomweightError {
  const { message, reason } = response;
  if (reason === "missing") {
    return new LoomweightError({
      code: "RUNTIME_MISSING",
      problem: `running a graph needs onnxruntime, which does not load: ${message.split("\n")[0]}`,
      fix: installFix,
    });
  }
  const type = /Unsupported data type: (\d+)/.exec(message)?.[1];
  if (type !== undefined) {
    const name = type === "16" ? "bfloat16" : `ONNX type ${type}`;
    return new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: `an input or output of the graph is ${name}, which onnxruntime cannot pass`,
      fix: "Cast it to float32 inside the graph.",
    });
  }
  const problem = code === "LOAD_FAILED" ? "onnxruntime does not load the graph" : "onnxruntime";
  return new LoomweightError({ code, problem: `${problem}: ${message}` });
}
