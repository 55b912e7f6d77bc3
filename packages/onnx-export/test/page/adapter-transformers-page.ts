import { AutoModelForCausalLM, env, type PreTrainedModel, Tensor } from "@huggingface/transformers";
import { openAdapter } from "@loomweight/adapters";
import { fileSetFromMap, openModelFromFiles } from "@loomweight/checkpoint";
import { type AdapterControl, addAdapters, parseAdapterSlots } from "../../src/index.ts";

/** Memories of WebAssembly modules, onnxruntime's among them: it makes its own before it loads. */
const memories = new Set<WebAssembly.Memory>();
WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
  construct(target, given) {
    const memory = Reflect.construct(target, given) as WebAssembly.Memory;
    memories.add(memory);
    return memory;
  },
});

interface Served {
  readonly model: PreTrainedModel;
  readonly adapters: AdapterControl;
  logits(): Promise<number[]>;
}
let served: Served | undefined;

async function files(folder: string, names: readonly string[]): Promise<Map<string, Uint8Array>> {
  const read = async (name: string) => {
    const response = await fetch(`${folder}/${name}`);
    if (!response.ok) throw new Error(`${folder}/${name}: ${response.status}`);
    return [name, new Uint8Array(await response.arrayBuffer())] as const;
  };
  return new Map(await Promise.all(names.map(read)));
}

async function opened(name: string, device: "wasm" | "webgpu"): Promise<Served> {
  // on a GPU every operator has to run there, or the session is refused
  const alone = { extra: { session: { disable_cpu_ep_fallback: "1" } } };
  const model = await AutoModelForCausalLM.from_pretrained(name, {
    dtype: "fp32",
    device,
    ...(device === "webgpu" && { session_options: alone }),
  });
  const described = (await files(`models/${name}`, ["adapter_slots.json"])).get("adapter_slots.json");
  const slots = parseAdapterSlots(JSON.parse(new TextDecoder().decode(described)));
  const adapters = addAdapters(model, slots, { Tensor: Tensor as never });
  const int64 = (value: (i: number) => number) =>
    new Tensor(
      "int64",
      BigInt64Array.from({ length: 12 }, (_, i) => BigInt(value(i))),
      [2, 6],
    );
  return {
    model,
    adapters,
    async logits() {
      const inputs = { input_ids: int64((i) => (7 * i + 3) % 40), attention_mask: int64(() => 1) };
      const { logits } = await model(inputs);
      return Array.from(logits.data as Float32Array);
    },
  };
}

Object.assign(globalThis, {
  async hasWebgpu() {
    const { gpu } = navigator as unknown as { gpu?: { requestAdapter(): Promise<unknown> } };
    return (await gpu?.requestAdapter().catch(() => null)) != null;
  },
  /** Loads a model and PEFT folders for its slots; an earlier model is let go. */
  async open({ model, device, names }: { model: string; device: "wasm" | "webgpu"; names: readonly string[] }) {
    await served?.model.dispose();
    served = await opened(model, device);
    const base = await openModelFromFiles(await files("base", ["config.json", "model.safetensors"]));
    for (const name of names) {
      const peft = await files(name, ["adapter_config.json", "adapter_model.safetensors"]);
      await served.adapters.load(name, await openAdapter(fileSetFromMap(peft, name)), { base });
    }
  },
  /** Logits of each choice, "" for none. */
  async logits(names: readonly string[]) {
    const { adapters, logits } = served as Served;
    const made: number[][] = [];
    for (const name of names) {
      adapters.use(name === "" ? undefined : name);
      made.push(await logits());
    }
    return made;
  },
  /** Two adapters by turns: texts of what each gave, those that occurred, and the bytes of WebAssembly's memory. */
  async alternate({ names, count }: { names: readonly [string, string]; count: number }) {
    const { adapters, logits } = served as Served;
    const made = names.map(() => new Set<string>());
    for (let i = 0; i < count; i++) {
      adapters.use(names[i % 2]);
      made[i % 2].add((await logits()).join());
    }
    return {
      made: made.map((each) => [...each]),
      wasm: [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0),
    };
  },
});
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.useBrowserCache = false;
env.localModelPath = "/models/"; // a URL of its own would pass for a remote place
const wasm = env.backends.onnx.wasm as { wasmPaths: string; numThreads: number };
wasm.wasmPaths = new URL("ort/", location.href).href;
wasm.numThreads = 1;
document.title = "ready";
