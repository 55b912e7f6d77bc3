import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromData, LoomweightError, tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { add, assemble, cast, encodeOnnx, input, lazyTensor, matMul, parameter, relu } from "../src/index.ts";
import { evaluate, openOnnxFile, openSession, writeOnnxFile } from "../src/node/index.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "loomweight-graph-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const x = input("x", "float32", ["n", 3]);
const weight = parameter("w", lazyTensor(tensor([1, 2, 3, 4, 5, 6], [3, 2])));
const linear = assemble({ name: "linear", inputs: [x], outputs: { y: add(matMul(x, weight), 1) } });

test("a session tells its inputs and outputs and runs, several times, with the event loop free", async () => {
  const session = await openSession(await encodeOnnx(linear), { threads: 1 });
  expect(session.inputs).toEqual([{ name: "x", dtype: "float32", shape: ["n", 3] }]);
  expect(session.outputs).toEqual([{ name: "y", dtype: "float32", shape: ["n", 2] }]);
  const feed = tensor([1, 0, -1], [1, 3]);
  const runs = await Promise.all([1, 2, 3].map(() => session.run({ x: feed })));
  for (const { y } of runs) expect(y).toEqual(tensor([-3, -3], [1, 2]));
  expect([...feed.data]).toEqual([1, 0, -1]); // the caller's tensor is not taken away
  await session.close();
  await session.close();
  await expect(session.run({ x: feed })).rejects.toThrow(/session is closed/);
});

test("closing waits for the runs already asked for", async () => {
  const a = input("a", "float32", [400, 400]);
  const square = assemble({ name: "s", inputs: [a], outputs: { y: matMul(matMul(a, a), a) } });
  const session = await openSession(await encodeOnnx(square), { threads: 1 });
  const one = fromData("float32", new Float32Array(160000).fill(1), [400, 400]);
  let finished = false;
  const running = session.run({ a: one }).then(({ y }) => {
    finished = true;
    return (y.data as Float32Array)[0];
  });
  await session.close();
  expect(finished).toBe(true);
  expect(await running).toBe(160000);
});

test("integer, bool, float64, text and float16 tensors pass both ways", async () => {
  const inputs = {
    i: fromData("int64", BigInt64Array.of(1n, -(2n ** 60n)), [2]),
    b: fromData("bool", Uint8Array.of(1, 0), [2]),
    d: fromData("float64", Float64Array.of(0.1, 2), [2]),
    u: fromData("uint8", Uint8Array.of(0, 255), [2]),
    s: fromData("string", ["a", "ünï"], [2]),
    ...("Float16Array" in globalThis ? {} : { h: fromData("float16", Uint16Array.of(0x3c00, 0x4000), [2]) }),
  };
  const values = Object.entries(inputs).map(([name, { dtype, shape }]) => input(name, dtype, shape));
  const outputs = Object.fromEntries(values.map((value) => [`${value.name}_out`, value]));
  const session = await openSession(await encodeOnnx(assemble({ name: "pass", inputs: values, outputs })));
  const results = await session.run(inputs);
  for (const [name, each] of Object.entries(inputs)) expect(results[`${name}_out`]).toEqual(each);
  await session.close();
});

test("outputs that are kept in the thread feed the next run, until it is given others or does not keep them", async () => {
  const state = input("state", "float32", ["n"]);
  const more = input("more", "float32", ["n"]);
  const sum = add(state, more);
  const model = assemble({ name: "sum", inputs: [state, more], outputs: { sum, twice: add(sum, sum) } });
  const session = await openSession(await encodeOnnx(model), { threads: 1 });
  const keep = { sum: "state" };
  const first = await session.run({ state: tensor([1, 2]), more: tensor([1, 1]) }, { keep });
  expect(first).toEqual({ twice: tensor([4, 6]) });
  expect(await session.run({ more: tensor([1, 1]) }, { keep })).toEqual({ twice: tensor([6, 8]) });
  expect(await session.run({ more: tensor([2, 2]) }, { outputs: ["twice"] })).toEqual({ twice: tensor([10, 12]) });
  await expect(session.run({ more: tensor([1, 1]) })).rejects.toMatchObject({ code: "MISSING_INPUT" });
  await session.run({ state: tensor([0, 0]), more: tensor([1, 1]) }, { keep });
  const given = await session.run({ state: tensor([5, 5]), more: tensor([1, 1]) });
  expect(given.sum).toEqual(tensor([6, 6]));
  await session.run({ state: tensor([0, 0]), more: tensor([1, 1]) }, { keep });
  // a failed run takes what was kept
  await expect(session.run({ more: tensor([1, 1, 1]) })).rejects.toMatchObject({ code: "RUN_FAILED" });
  await expect(session.run({ more: tensor([1, 1]) })).rejects.toMatchObject({ code: "MISSING_INPUT" });
  await expect(session.run({}, { keep: { sun: "state" } })).rejects.toThrow(/input "state" is not given/);
  const feeds = { state: tensor([0, 0]), more: tensor([1, 1]) };
  await expect(session.run(feeds, { keep: { sun: "state" } })).rejects.toThrow(/unknown output "sun".*"sum"/);
  await expect(session.run(feeds, { keep: { sum: "stat" } })).rejects.toThrow(/unknown input "stat".*"state"/);
  await session.close();
});

test("wrong feeds are named before anything runs", async () => {
  const session = await openSession(await encodeOnnx(linear));
  await expect(session.run({})).rejects.toThrow(/input "x" is not given.*float32 \[n,3\]/);
  await expect(session.run({ xs: tensor([1]) })).rejects.toThrow(/unknown input "xs".*Did you mean "x"/);
  await expect(session.run({ x: tensor([1, 2], [1, 2]) })).rejects.toThrow(
    /wrong shape.*expected \[n,3\], found \[1,2\]/,
  );
  await expect(session.run({ x: tensor([1, 2, 3], [1, 3], "float64") })).rejects.toThrow(/wrong dtype/);
  await expect(session.run({ x: tensor([1, 2, 3], [1, 3]) }, { outputs: ["z"] })).rejects.toThrow(/unknown output "z"/);
  await session.close();
});

test("a model that does not load, and bfloat16 at the border, are errors by name", async () => {
  await expect(openSession(Uint8Array.of(1, 2, 3))).rejects.toThrow(/does not load the model/);
  await expect(openSession(join(folder, "nothing.onnx"))).rejects.toMatchObject({ code: "LOAD_FAILED" });
  const half = cast(x, "bfloat16");
  const model = assemble({ name: "h", inputs: [x], outputs: { half } });
  await expect(openSession(await encodeOnnx(model))).rejects.toThrow(/is bfloat16, which onnxruntime-node cannot pass/);
});

test("models are written to disk with external data, loaded by onnxruntime, and read back", async () => {
  const path = join(folder, "model.onnx");
  const large = parameter(
    "w",
    lazyTensor(
      tensor(
        Array.from({ length: 3 * 400 }, (_, i) => i),
        [3, 400],
      ),
    ),
  );
  const model = assemble({ name: "linear", inputs: [x], outputs: { y: relu(matMul(x, large)) } });
  await writeOnnxFile(path, model, { externalData: true });
  const bytes = await readFile(path);
  expect((await readFile(join(folder, "model.onnx_data"))).length).toBe(4800);
  const session = await openSession(path);
  const { y } = await session.run({ x: tensor([0, 1, 0], [1, 3]) });
  expect((y.data as Float32Array)[1]).toBe(401);
  await session.close();
  const opened = await openOnnxFile(path);
  expect((await opened.model.graph.initializers.get("w")?.data.read())?.data[5]).toBe(5);
  // Written over itself while it is open: the new files replace the old ones.
  await writeOnnxFile(path, opened.model, { externalData: true });
  await opened.close();
  expect(Buffer.compare(await readFile(path), bytes)).toBe(0);
});

test("external data cannot leave the folder", async () => {
  await writeFile(join(folder, "secret"), "secret");
  for (const location of ["../secret", "/etc/passwd", ".hidden", "a\\b"]) {
    const path = join(folder, "bad.onnx");
    const named = { ...linear.graph, initializers: new Map(linear.graph.initializers) };
    await writeOnnxFile(path, { ...linear, graph: named }, { externalData: true, externalThreshold: 0 });
    const bytes = await readFile(path);
    const at = bytes.indexOf("bad.onnx_data");
    const padded = location.padEnd(13, "x");
    await writeFile(path, Buffer.concat([bytes.subarray(0, at), Buffer.from(padded), bytes.subarray(at + 13)]));
    await expect(openOnnxFile(path)).rejects.toThrow(/must lie in the model's folder/);
  }
});

test("a failed write leaves what was there and nothing else", async () => {
  const path = join(folder, "kept.onnx");
  await writeFile(path, "before");
  const broken = parameter("w", {
    dtype: "float32",
    shape: [3, 2],
    read: async () => {
      throw new LoomweightError({ code: "READ_FAILED", problem: "gone" });
    },
  });
  const model = assemble({ name: "broken", inputs: [x], outputs: { y: matMul(x, broken) } });
  await expect(writeOnnxFile(path, model)).rejects.toThrow("gone");
  expect(await readFile(path, "utf8")).toBe("before");
});

test("a trace is computed by onnxruntime in one call", async () => {
  const { y } = await evaluate({ y: matMul(x, tensor([1, 2, 3], [3, 1])) }, { x: tensor([1, 1, 1], [1, 3]) });
  expect(y).toEqual(tensor([6], [1, 1]));
});
