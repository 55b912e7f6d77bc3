import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { fromData, tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  add,
  cast,
  input,
  lazyTensor,
  matMul,
  mul,
  parameter,
  type Runtime,
  reduceSum,
  stateValue,
  sub,
} from "../../src/index.ts";
import { createRuntime } from "../../src/node/index.ts";
import { createRuntime as createWebRuntime, serveRuntime } from "../../src/web/index.ts";

const x = input("x", "float32", [2, 2]);
const weight = stateValue("w", "float32", [2, 2]);
const y = add(matMul(x, weight), 1);
const step = { outputs: { loss: reduceSum(y) }, update: { w: sub(weight, mul(y, 0.1)) } };
const identity = tensor([1, 0, 0, 1], [2, 2]);
const start = tensor([1, 2, 3, 4], [2, 2]);

const runtimes: [string, () => Promise<Runtime>][] = [
  ["onnxruntime-node, cpu", () => createRuntime({ threads: 1 })],
  ["onnxruntime-web, wasm", () => createWebRuntime()],
];

describe.each(runtimes)("%s", (_, open) => {
  let runtime: Runtime;
  beforeAll(async () => {
    runtime = await open();
  });
  afterAll(() => runtime.close());

  test("a program replaces the state, step by step; another reads it", async () => {
    const state = await runtime.state({ w: start });
    const train = await runtime.compile(step, state);
    const look = await runtime.compile({ outputs: { y } }, state);
    expect(train.inputs).toEqual([{ name: "x", dtype: "float32", shape: [2, 2] }]);
    const losses: number[] = [];
    for (let i = 0; i < 3; i++) losses.push(Number((await train.run({ x: identity })).loss.data[0]));
    expect(losses.map((each) => Number(each.toFixed(3)))).toEqual([14, 12.6, 11.34]);
    const { w } = await state.read();
    for (const [i, value] of [1, 2, 3, 4].entries()) {
      // w + 1 falls by a tenth each step
      expect(w.data[i]).toBeCloseTo((value + 1) * 0.729 - 1, 5);
    }
    expect((await look.run({ x: identity })).y.data[3]).toBeCloseTo(5 * 0.729, 5);
    expect([...start.data]).toEqual([1, 2, 3, 4]); // the caller's tensor is its own
    await Promise.all([train.close(), look.close()]);
    await state.close();
  });

  test("an update is taken back once, until the next run", async () => {
    const state = await runtime.state({ w: start });
    const train = await runtime.compile(step, state);
    await expect(state.undo()).rejects.toMatchObject({ code: "NOTHING_TO_UNDO" });
    await train.run({ x: identity });
    const { w: after } = await state.read();
    await train.run({ x: identity });
    await state.undo();
    expect((await state.read(["w"])).w).toEqual(after);
    await expect(state.undo()).rejects.toMatchObject({ code: "NOTHING_TO_UNDO" });
    await train.run({ x: identity });
    expect((await state.read()).w.data[0]).toBeCloseTo(0.62, 5);
    await state.close();
  });

  test("a snapshot goes its own way; writing replaces", async () => {
    const state = await runtime.state({ w: start });
    const train = await runtime.compile(step, state);
    const kept = await state.snapshot();
    await train.run({ x: identity });
    expect((await kept.read()).w).toEqual(start);
    await state.write({ w: start });
    expect((await train.run({ x: identity })).loss.data[0]).toBeCloseTo(14, 5);
    expect((await kept.read()).w).toEqual(start);
    await expect(state.write({ w: tensor([1, 2]) })).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
    await expect(state.write({ v: start })).rejects.toThrow(/unknown tensor of the state "v"/);
    await expect(state.read(["ww"])).rejects.toThrow(/Did you mean "w"/);
    await kept.close();
    await state.close();
    await expect(state.read()).rejects.toThrow(/state is closed/);
  });

  test("parameters outside the state are fixed weights; bfloat16 states are cast in the graph", async () => {
    const frozen = parameter("frozen", lazyTensor(start));
    const half = stateValue("half", "bfloat16", [2, 2]);
    const state = await runtime.state({
      half: fromData("bfloat16", Uint16Array.of(0x3f80, 0x4000, 0, 0xbf80), [2, 2]),
    });
    const wide = cast(half, "float32");
    const program = await runtime.compile(
      { outputs: { sum: add(wide, frozen) }, update: { half: cast(mul(wide, 2), "bfloat16") } },
      state,
    );
    const { sum } = await program.run();
    expect([...(sum.data as Float32Array)]).toEqual([2, 4, 3, 3]);
    expect((await state.read()).half.data).toEqual(Uint16Array.of(0x4000, 0x4080, 0, 0xc000));
    await state.close();
  });

  test("faults are named before anything runs", async () => {
    const state = await runtime.state({ w: start });
    await expect(runtime.compile({ outputs: { y } })).rejects.toThrow(/unknown tensor of the state "w"/);
    await expect(runtime.compile({ update: { v: y } }, state)).rejects.toThrow(/unknown tensor of the state "v"/);
    await expect(runtime.compile({ update: { w: reduceSum(y) } }, state)).rejects.toMatchObject({
      code: "SHAPE_MISMATCH",
    });
    const wrong = stateValue("w", "float32", [1, 4]);
    await expect(runtime.compile({ outputs: { wrong: add(wrong, 1) } }, state)).rejects.toThrow(/"w".*wrong shape/);
    const program = await runtime.compile(step, state);
    await expect(program.run({})).rejects.toThrow(/input "x" is not given/);
    await expect(program.run({ x: identity }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect((await state.read()).w).toEqual(start);
    await state.close();
  });

  test("a trace is computed in one call", async () => {
    const frozen = parameter("w", lazyTensor(start));
    expect((await runtime.evaluate({ z: matMul(x, frozen) }, { x: identity })).z).toEqual(start);
  });
});

test("a page's runtime may live in a worker", async () => {
  // The two ends of a worker, in one thread: what is posted arrives as a copy, later.
  const scope = globalThis as unknown as Record<string, unknown>;
  const listeners: { page?: (event: { data: unknown }) => void; worker?: (event: { data: unknown }) => void } = {};
  const deliver = (end: "page" | "worker") => (data: unknown) => {
    const copy = structuredClone(data);
    setImmediate(() => listeners[end]?.({ data: copy }));
  };
  let closed = false;
  const kept = { addEventListener: scope.addEventListener, postMessage: scope.postMessage, close: scope.close };
  Object.assign(scope, {
    addEventListener: (_: string, listener: (event: { data: unknown }) => void) => {
      listeners.worker = listener;
    },
    postMessage: deliver("page"),
    close: () => {
      closed = true;
    },
  });
  const worker = {
    addEventListener(kind: string, listener: (event: { data: unknown }) => void) {
      if (kind === "message") listeners.page = listener;
    },
    postMessage: deliver("worker"),
  } as unknown as Worker;
  try {
    serveRuntime();
    const runtime = await createWebRuntime({ worker });
    const state = await runtime.state({ w: start });
    const train = await runtime.compile(step, state);
    expect((await train.run({ x: identity })).loss.data[0]).toBeCloseTo(14, 5);
    expect((await state.read()).w.data[0]).toBeCloseTo(0.8, 5);
    await runtime.close();
    expect(closed).toBe(true);
  } finally {
    Object.assign(scope, kept);
  }
});

test("a closed runtime says so, after the runs already asked for", async () => {
  const runtime = await createRuntime({ threads: 1 });
  const state = await runtime.state({ w: start });
  const train = await runtime.compile(step, state);
  const running = train.run({ x: identity });
  await runtime.close();
  await runtime.close();
  expect((await running).loss.data[0]).toBeCloseTo(14, 5);
  await expect(train.run({ x: identity })).rejects.toMatchObject({ code: "RUNTIME_CLOSED" });
  await state.close();
});

test("ending the process during a run waits for the run instead of aborting", async () => {
  const script = `
    import { createRuntime } from ${JSON.stringify(new URL("../../dist/node/index.js", import.meta.url).href)};
    import { input, matMul, reduceSum } from ${JSON.stringify(new URL("../../dist/index.js", import.meta.url).href)};
    const a = input("a", "float32", [1200, 1200]);
    let b = a;
    for (let i = 0; i < 6; i++) b = matMul(b, a);
    const runtime = await createRuntime({ threads: 1 });
    const program = await runtime.compile({ outputs: { s: reduceSum(b) } });
    const data = { dtype: "float32", data: new Float32Array(1440000), shape: [1200, 1200], stride: [1200, 1], offset: 0 };
    for (let i = 0; i < 3; i++) program.run({ a: data });
    setTimeout(() => process.exit(7), 60);
  `;
  const ran = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  const fault = await ran.catch((cause: Error) => cause);
  expect(fault, String(fault)).toMatchObject({ code: 7, signal: null });
}, 60_000);
