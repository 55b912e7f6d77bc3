import { openAdapter } from "@loomweight/adapters";
import { fileSetFromMap, openModelFromFiles } from "@loomweight/checkpoint";
import * as ort from "onnxruntime-web/wasm";
import { createAdapterSession, parseAdapterSlots, readOnnxAdapter } from "../../src/index.ts";

/** Memories of WebAssembly modules, onnxruntime's among them: it makes its own before it loads. */
const memories = new Set<WebAssembly.Memory>();
WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
  construct(target, given) {
    const memory = Reflect.construct(target, given) as WebAssembly.Memory;
    memories.add(memory);
    return memory;
  },
});

async function bytes(path: string): Promise<Uint8Array> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function peft(name: string) {
  const names = ["adapter_config.json", "adapter_model.safetensors"];
  const files = await Promise.all(names.map(async (file) => [file, await bytes(`${name}/${file}`)] as const));
  return openAdapter(fileSetFromMap(new Map(files), name));
}

/** The feeds of `logitsOf`: rows of six fixed tokens, an empty cache. */
function feeds(rows: number): Record<string, ort.Tensor> {
  const int64 = (value: (i: number) => number) =>
    new ort.Tensor(
      "int64",
      BigInt64Array.from({ length: rows * 6 }, (_, i) => BigInt(value(i))),
      [rows, 6],
    );
  const empty = () => new ort.Tensor("float32", new Float32Array(0), [rows, 2, 0, 8]);
  return {
    input_ids: int64((i) => (7 * i + 3) % 40),
    attention_mask: int64(() => 1),
    position_ids: int64((i) => i % 6),
    "past_key_values.0.key": empty(),
    "past_key_values.0.value": empty(),
  };
}

async function openGraph(layout: string, names: readonly string[]) {
  const slots = parseAdapterSlots(JSON.parse(new TextDecoder().decode(await bytes(`${layout}.json`))));
  const raw = await ort.InferenceSession.create(await bytes(`${layout}.onnx`), { executionProviders: ["wasm"] });
  const session = createAdapterSession(raw, slots, { Tensor: ort.Tensor as never });
  const base = await openModelFromFiles(
    new Map([
      ["model.safetensors", await bytes("base/model.safetensors")],
      ["config.json", await bytes("base/config.json")],
    ]),
  );
  for (const name of names) await session.load(name, await peft(name), { base });
  const logits = async (rows = 2) => {
    const outputs = await session.run(feeds(rows));
    return Array.from(outputs.logits.data as Float32Array);
  };
  return { session, logits };
}

Object.assign(globalThis, {
  /** Logits of the base model and of each adapter. */
  async adapters(layout: string) {
    const { session, logits } = await openGraph(layout, ["four", "eight", "dora"]);
    if (layout === "single") await session.load("file", readOnnxAdapter(await bytes("dora.onnx_adapter")));
    const results: Record<string, number[]> = { none: await logits() };
    for (const name of session.names()) {
      session.use(name);
      results[name] = await logits();
    }
    if (layout === "rows") {
      session.use(["dora", "four", undefined, "eight"]);
      results.together = await logits(4);
      session.use(undefined);
      results.none4 = await logits(4);
    }
    await session.release();
    return results;
  },
  /** Swaps two adapters; bytes of WebAssembly memory at half time and at the end, and whether outputs stayed the same. */
  async swaps(count: number) {
    const { session, logits } = await openGraph("single", ["wide", "wider"]);
    const first = new Map<string, string>();
    const memory: number[] = [];
    let same = true;
    for (let i = 0; i < count; i++) {
      const name = i % 2 === 0 ? "wide" : "wider";
      session.use(name);
      const made = (await logits()).join();
      if (first.has(name)) same &&= first.get(name) === made;
      first.set(name, made);
      if (i === Math.floor(count / 2) || i === count - 1) {
        memory.push([...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0));
      }
    }
    await session.release();
    return { same, differ: new Set(first.values()).size === 2, memory };
  },
});
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
document.title = "ready";
