import type { Session } from "@loomweight/graph/node";
import { fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  type AdapterSlots,
  adapterFile,
  createAdapterSession,
  type ExportDType,
  readOnnxAdapter,
  slotValues,
  writeOnnxAdapter,
} from "../src/index.ts";
import { slotTensors } from "../src/slots/slot-tensors.ts";
import { int64 } from "./exported.ts";
import {
  exportedGraph,
  foldedFolder,
  linearShapes,
  logitsOf,
  relativeDifference,
  smallAdapter,
  smallLlama,
  values,
  withGraph,
} from "./slots-small.ts";

/** Logits of the model with adapters folded in, as its own fp32 export gives them. */
async function foldedLogits(
  options: Parameters<typeof smallAdapter>[1] | undefined,
  name = "one",
  rows = 2,
): Promise<Float32Array> {
  const adapters = options === undefined ? [] : [await smallAdapter(name, options)];
  const { bytes } = await exportedGraph(foldedFolder(await smallLlama(), adapters), { dtypes: ["fp32"] });
  return withGraph(bytes, (session) => logitsOf(session, rows));
}

describe.each(["single", "rows"] as const)("slots of the layout %s", (layout) => {
  // q4 is as near as float32: the model's weights lie on its grid, and accuracy level 0 computes in float32
  const kinds: readonly [ExportDType, number][] = [
    ["fp32", 1e-5],
    ["q4", 1e-5],
    ["fp16", 1e-2],
    ["q4f16", 1e-2],
    ["q8", 0.1],
  ];
  test.each(kinds)(
    "give what the folded model gives, for ranks 4, 8 and 0 and DoRA, beside %s weights",
    async (dtype, tolerance) => {
      const folder = await smallLlama();
      const options = { dtypes: [dtype], quantize: { accuracyLevel: 0 as const } };
      const { bytes, slots } = await exportedGraph(folder, { ...options, adapterSlots: { layout } });
      const plain = await withGraph((await exportedGraph(folder, options)).bytes, logitsOf);
      await withGraph(bytes, async (raw) => {
        const session = createAdapterSession(raw, slots as never);
        const cases = { four: { rank: 4 }, eight: { rank: 8 }, dora: { rank: 2, dora: true } };
        for (const [name, each] of Object.entries(cases)) {
          await session.load(name, await smallAdapter(name, each), { base: folder });
        }
        // half precision rounds elsewhere where a norm takes the sum in front of it
        const unchanged = (logits: Float32Array) => {
          if (!dtype.endsWith("16")) return expect(logits).toEqual(plain);
          for (const [i, value] of logits.entries()) expect(Math.abs(value - plain[i])).toBeLessThanOrEqual(tolerance);
        };
        unchanged(await logitsOf(session)); // zeros of rank 1
        const none = slotTensors(slots as AdapterSlots, "model", [undefined], 0);
        const rows = slots?.rows === undefined ? {} : { [slots.rows]: int64([0, 0], [2]) };
        const empty: Session = {
          ...raw,
          inputs: session.inputs,
          run: (feeds) => raw.run({ ...feeds, ...none, ...rows }),
        };
        unchanged(await logitsOf(empty)); // rank 0
        for (const [name, each] of Object.entries(cases)) {
          session.use(name);
          const folded = await foldedLogits(each, name);
          expect(relativeDifference(folded, plain), `${name} changes the model`).toBeGreaterThan(0.2);
          expect(relativeDifference(await logitsOf(session), folded), name).toBeLessThanOrEqual(tolerance);
        }
        session.use(undefined);
        unchanged(await logitsOf(session));
      });
    },
  );
});

test("several adapters in one batch give each row what its adapter alone gives", async () => {
  const folder = await smallLlama();
  const { bytes, slots } = await exportedGraph(folder, { dtypes: ["fp32"], adapterSlots: { layout: "rows" } });
  await withGraph(bytes, async (raw) => {
    const session = createAdapterSession(raw, slots as never);
    const cases = {
      four: { rank: 4 },
      eight: { rank: 8, targets: ["q_proj", "k_proj", "gate_proj"] },
      dora: { rank: 2, dora: true },
    };
    for (const [name, each] of Object.entries(cases)) {
      await session.load(name, await smallAdapter(name, each), { base: folder });
    }
    const choice = ["four", "eight", undefined, "dora", "four"] as const;
    session.use(choice);
    const together = await logitsOf(session, choice.length);
    const size = together.length / choice.length;
    for (const [row, name] of choice.entries()) {
      session.use(name);
      const alone = await logitsOf(session, choice.length);
      const part = (all: Float32Array) => all.subarray(row * size, (row + 1) * size);
      expect(relativeDifference(part(together), part(alone)), `row ${row}`).toBeLessThanOrEqual(1e-5);
    }
    session.use(["four", "eight"]);
    await expect(logitsOf(session, 3)).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
  });
});

test("two adapters take 1,000 turns in one session without using more memory", { timeout: 300_000 }, async () => {
  const swaps = Number(process.env.LOOMWEIGHT_SWAPS || 1000);
  const folder = await smallLlama();
  const { bytes, slots } = await exportedGraph(folder, { dtypes: ["fp32"], adapterSlots: true });
  await withGraph(bytes, async (raw) => {
    const session = createAdapterSession(raw, slots as never);
    await session.load("one", await smallAdapter("one", { rank: 256 }));
    await session.load("two", await smallAdapter("two", { rank: 512 }));
    const first: Record<string, Float32Array> = {};
    const sizes: number[] = [];
    for (let i = 0; i < swaps; i++) {
      const name = i % 2 === 0 ? "one" : "two";
      session.use(name);
      const logits = await logitsOf(session);
      first[name] ??= logits;
      if (i >= swaps - 2) expect(logits).toEqual(first[name]);
      if (i === Math.floor(swaps / 2) || i === swaps - 1) {
        globalThis.gc?.();
        sizes.push(process.memoryUsage().rss);
      }
    }
    expect(relativeDifference(first.one, first.two)).toBeGreaterThan(0.1);
    if (process.env.LOOMWEIGHT_SWAPS) console.log(`resident bytes at half time and at the end: ${sizes.join(", ")}`);
    // a leak of the factors alone would be 0.56 MB a swap, 280 MB
    expect(sizes[1] - sizes[0]).toBeLessThan((swaps / 2) * 0.1e6);
  });
});

describe(".onnx_adapter files", () => {
  test("give the session what the PEFT folder gives, DoRA without its base too", async () => {
    const folder = await smallLlama();
    const { bytes, slots } = await exportedGraph(folder, { dtypes: ["fp32"], adapterSlots: true });
    if (slots === undefined) throw new Error("no slots");
    const adapter = await smallAdapter("dora", { dora: true });
    const file = writeOnnxAdapter(adapterFile(slots, await slotValues(slots, adapter, { base: folder })));
    await withGraph(bytes, async (raw) => {
      const session = createAdapterSession(raw, slots);
      await session.load("folder", adapter, { base: folder });
      await session.load("file", readOnnxAdapter(file));
      session.use("folder");
      const expected = await logitsOf(session);
      session.use("file");
      expect(await logitsOf(session)).toEqual(expected);
    });
  });

  test("keep names, shapes, dtypes and bytes", () => {
    const parameters = new Map<string, Tensor>([
      ["a", fromData("float32", Float32Array.of(1, -2, 3), [3, 1])],
      ["größe", fromData("int64", BigInt64Array.of(2n ** 40n), [])],
      ["empty", fromData("float16", new Uint16Array(0), [0, 5])],
      ["codes", fromData("uint8", Uint8Array.of(1, 2, 3, 4, 5), [5])],
    ]);
    const read = readOnnxAdapter(writeOnnxAdapter({ parameters, adapterVersion: 3, modelVersion: 4 }));
    expect([read.adapterVersion, read.modelVersion]).toEqual([3, 4]);
    expect([...read.parameters]).toEqual([...parameters]);
  });

  test("of onnxruntime 1.30 (its Python AdapterFormat.export_adapter) are read", () => {
    const file =
      "DAAAAFRPUlQAAAAArP///wEAAAAFAAAABgAAAAQAAAACAAAASAAAAAQAAADM////KAAAABAAAAAKAAAABAAAAAAAAAACAAAAAwAAAAAAAAAAAAAAAAAAAAIAAABiYgAADAAUAAQACAAMABAADAAAAEAAAAAoAAAAAQAAAAQAAAAYAAAAAAAAAAAAgD8AAABAAABAQAAAgEAAAKBAAgAAAAIAAAAAAAAAAwAAAAAAAAABAAAAYQAAAA==";
    const { adapterVersion, modelVersion, parameters } = readOnnxAdapter(Buffer.from(file, "base64"));
    expect([adapterVersion, modelVersion]).toEqual([5, 6]);
    expect(Object.fromEntries(parameters)).toEqual({
      a: fromData("float32", Float32Array.of(0, 1, 2, 3, 4, 5), [2, 3]),
      bb: fromData("float16", new Uint16Array(0), [3, 0]),
    });
  });

  test("that are cut or changed are refused by a named error", () => {
    const file = writeOnnxAdapter({ parameters: new Map([["a", fromData("float32", Float32Array.of(1, 2), [2])]]) });
    for (let length = 0; length < file.length; length++) {
      expect(() => readOnnxAdapter(file.subarray(0, length))).toThrow(/^[A-Z_]+|file|offset/);
    }
    for (let at = 0; at < file.length; at++) {
      const changed = file.slice();
      changed[at] ^= 0xff;
      try {
        readOnnxAdapter(changed);
      } catch (error) {
        expect(error).toMatchObject({ name: "LoomweightError" });
      }
    }
  });
});

describe("what slots cannot serve is refused by name", () => {
  async function loading(options: Parameters<typeof smallAdapter>[1], dora = true, base = false) {
    const folder = await smallLlama();
    const { slots, bytes } = await exportedGraph(folder, {
      dtypes: ["fp32"],
      adapterSlots: { dora, targets: ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"] },
    });
    return withGraph(bytes, async (raw) => {
      const session = createAdapterSession(raw, slots as never);
      return session.load("one", await smallAdapter("one", options), base ? { base: folder } : {});
    });
  }
  const wide = Object.fromEntries(Object.entries(linearShapes).map(([path, [out]]) => [path, [out, 48] as const]));
  const more = (path: string, ...shape: number[]) => new Map([[`base_model.model.${path}`, values(path, shape)]]);
  test.each([
    ["an adapter of another base", { shapes: wide }, "SHAPE_MISMATCH", /down_proj.*has \[4,64\].*has \[4,48\]/],
    ["targets without a slot", { targets: ["q_proj", "gate_proj"] }, "NO_ADAPTER_SLOT", /gate_proj/],
    ["DoRA without the base", { dora: true }, "MISSING_BASE", /folder that the export was made from/],
    [
      "a saved head",
      { config: { modules_to_save: ["lm_head"] }, more: more("lm_head.weight", 40, 32) },
      "UNSUPPORTED_ADAPTER",
      /lm_head/,
    ],
    [
      "a bias on the output",
      {
        config: { lora_bias: true },
        more: more("model.layers.0.self_attn.q_proj.lora_B.bias", 32),
        targets: ["q_proj"],
      },
      "UNSUPPORTED_ADAPTER|MISSING_TENSOR",
      /bias/,
    ],
  ])("%s", async (_, options, code, message) => {
    const error = await loading(options).then(
      () => undefined,
      (cause: unknown) => cause as { code: string; message: string },
    );
    expect(error?.code).toMatch(new RegExp(`^(${code})$`));
    expect(error?.message).toMatch(message);
  });

  test("DoRA where slots have no scales", async () => {
    await expect(loading({ dora: true }, false, true)).rejects.toMatchObject({ code: "UNSUPPORTED_ADAPTER" });
  });

  test("names that are not loaded, rows where there is one adapter for all, a session without slots", async () => {
    const folder = await smallLlama();
    const { bytes, slots } = await exportedGraph(folder, { dtypes: ["fp32"], adapterSlots: true });
    await withGraph(bytes, async (raw) => {
      const session = createAdapterSession(raw, slots as never);
      await session.load("names", await smallAdapter("names"));
      expect(() => session.use("nams")).toThrow(/unknown adapter "nams".*Did you mean "names"/);
      expect(() => session.use(["names", undefined])).toThrow(/one adapter for all rows/);
    });
    await withGraph((await exportedGraph(folder, { dtypes: ["fp32"] })).bytes, async (raw) => {
      expect(() => createAdapterSession(raw, slots as never)).toThrow(/adapter_slots.json/);
    });
  });

  test("targets that no layer has", async () => {
    const folder = await smallLlama();
    const planned = exportedGraph(folder, { dtypes: ["fp32"], adapterSlots: { targets: ["c_attn"] } });
    await expect(planned).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
