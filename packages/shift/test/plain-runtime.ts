import { evaluateTrace, parametersOf, type Runtime, type State, type Value } from "@loomweight/graph";
import type { Tensor } from "@loomweight/tensor";

/** A runtime without onnxruntime: graphs are computed by the ops' own rules, in float64 where tensors are. Small graphs only. */
export function plainRuntime(): Runtime {
  const contents = new Map<State, Record<string, Tensor>>();
  const runtime: Runtime = {
    providers: ["plain"],
    async state(tensors) {
      const held: Record<string, Tensor> = {};
      for (const [name, tensor] of Object.entries(tensors))
        held[name] = "read" in tensor ? await tensor.read() : tensor;
      const state: State = {
        tensors: new Map(Object.entries(held).map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
        read: async (names = Object.keys(held)) => Object.fromEntries(names.map((name) => [name, held[name]])),
        write: async (next) => void Object.assign(held, next),
        snapshot: () => runtime.state(held),
        undo: () => Promise.reject(new Error("not here")),
        close: async () => {},
      };
      contents.set(state, held);
      return state;
    },
    async compile({ outputs = {}, update = {} }, state) {
      const held = (state && contents.get(state)) ?? {};
      const fixed: Record<string, Tensor> = {};
      for (const { name = "", data } of parametersOf([...Object.values(outputs), ...Object.values(update)])) {
        if (data !== undefined && !(name in held)) fixed[name] = await data.read();
      }
      const all: Record<string, Value> = {};
      for (const [name, value] of Object.entries(outputs)) all[`output ${name}`] = value;
      for (const [name, value] of Object.entries(update)) all[`update ${name}`] = value;
      return {
        inputs: [],
        async run(feeds = {}) {
          const found = evaluateTrace(all, { ...fixed, ...held, ...feeds });
          for (const name of Object.keys(update)) held[name] = found[`update ${name}`];
          return Object.fromEntries(Object.keys(outputs).map((name) => [name, found[`output ${name}`]]));
        },
        close: async () => {},
      };
    },
    async evaluate(outputs, feeds, state) {
      return (await runtime.compile({ outputs }, state)).run(feeds);
    },
    close: async () => {},
  };
  return runtime;
}
