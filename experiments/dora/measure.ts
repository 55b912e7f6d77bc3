// One measurement in a process of its own, which onnxruntime shares with nothing: processor time of a run and the memory
// that it takes beyond the tensors it is fed. The case is the argument, as JSON; the answer is printed as JSON.
import { readFileSync, writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { defineAdapter, dora, factoredSquares, lora } from "@loomweight/adapters";
import { attach } from "@loomweight/adapters/attach";
import {
  add,
  assemble,
  div,
  encodeOnnx,
  gradient,
  input,
  inputsOf,
  matMul,
  mul,
  reduceSum,
  reduceSumSquare,
  reshape,
  sqrt,
  stopGradient,
  sub,
  transpose,
  type Value,
} from "@loomweight/graph";
import { linear } from "@loomweight/graph/nn";
import { createRandom, fromData, normal } from "@loomweight/tensor";
import { frozenModel } from "../shared/adapted-model.ts";

export type Form = "identity" | "dense" | "factored";
export interface Measurement {
  /** Row norms of W + s B A; the composition of a layer's output from its parts; a layer's output; output and gradients. */
  readonly what: "norm" | "compose" | "forward" | "step";
  /**
   * Norm: through an identity matrix as PEFT, by the dense product, by the factors. Composition: pass by pass, or with
   * scale and gain in B. Layers: lora, PEFT's dora, the product's.
   */
  readonly form: Form | "lora" | "composed" | "fused";
  readonly out: number;
  readonly in: number;
  readonly rank: number;
  readonly rows: number;
}
export interface Measured {
  /** Processor time of a run, the least of several, in milliseconds. */
  readonly milliseconds: number;
  /** What the first run adds to the process's resident size at its largest, in MiB. */
  readonly mebibytes: number;
}

const scale = 2;

/** ‖W + s B A‖ by rows [out, 1]. */
function rowNorms(form: Form, weight: Value, A: Value, B: Value): Value {
  if (form === "factored") return sqrt(factoredSquares(weight, { A, B }, scale));
  const width = Number(A.shape[1]);
  const unit = new Float32Array(width * width);
  for (let i = 0; i < width; i++) unit[i * width + i] = 1;
  const product =
    form === "dense"
      ? matMul(B, A)
      : transpose(
          matMul(matMul(fromData("float32", unit, [width, width]), transpose(A, [1, 0])), transpose(B, [1, 0])),
          [1, 0],
        );
  return sqrt(reduceSumSquare(add(weight, mul(product, scale)), [1], true));
}

/** DoRA in PEFT's order of operations. */
export const composed = defineAdapter({
  ...dora,
  name: "composed-dora",
  apply: (layer, { A, B, magnitude }, x) => {
    const norm = stopGradient(rowNorms("identity", layer.base, A, B));
    const gain = reshape(div(reshape(magnitude, [layer.out, 1]), norm), [layer.out]);
    const own = layer.operation(x, layer.storedWeight);
    const update = matMul(matMul(x, transpose(A, [1, 0])), transpose(B, [1, 0]));
    return add(layer.forward(x), add(mul(sub(gain, 1), own), mul(mul(gain, update), scale)));
  },
});

async function outputsOf(given: Measurement): Promise<Record<string, Value>> {
  const { what, form, out, in: width, rank, rows } = given;
  const weight = input("layer.weight", "float32", [out, width]);
  if (what === "norm") {
    return {
      norm: rowNorms(form as Form, weight, input("A", "float32", [rank, width]), input("B", "float32", [out, rank])),
    };
  }
  if (what === "compose") {
    const [own, hidden] = [input("own", "float32", [rows, out]), input("hidden", "float32", [rows, rank])];
    const [B, gain] = [input("B", "float32", [out, rank]), input("gain", "float32", [out])];
    const beyond = mul(sub(gain, 1), own);
    if (form === "fused") {
      const scaled = mul(B, mul(reshape(gain, [out, 1]), scale));
      return { y: add(beyond, matMul(hidden, transpose(scaled, [1, 0]))) };
    }
    return { y: add(beyond, mul(gain, mul(matMul(hidden, transpose(B, [1, 0])), scale))) };
  }
  const seed = createRandom(1, "measure");
  const model = frozenModel(
    { "layer.weight": normal([out, width], seed, { deviation: 0.02 }) },
    { x: { dtype: "float32", shape: [rows, width] } },
    (weights, { x }) => ({ y: linear(weights, "layer", x) }),
  );
  const method = form === "lora" ? lora : form === "composed" ? composed : dora;
  const options = { rank, alpha: scale * rank };
  const attachment = await attach(model, undefined, { method, options, targets: ["layer"] });
  const parameters = Object.fromEntries(
    Object.entries(attachment.parameters).map(([name, { shape }]) => [name, input(name, "float32", shape)]),
  );
  const x = input("x", "float32", [rows, width]);
  const { outputs } = attachment.instantiate({ parameters, inputs: { x }, weights: { "layer.weight": weight } });
  if (what === "forward") return outputs;
  const dy = input("dy", "float32", [rows, out]);
  const loss = reduceSum(mul(outputs.y, dy), [0, 1], false);
  const gradients = Object.entries(gradient(loss, { ...parameters, x }));
  return { loss, ...Object.fromEntries(gradients.map(([name, value]) => [`gradient.${name}`, value])) };
}

/** A figure of the process in KiB (Linux). */
function status(name: string): number {
  return Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
}

async function measure(given: Measurement): Promise<Measured> {
  const ort = await import("onnxruntime-node");
  const outputs = await outputsOf(given);
  const inputs = inputsOf(Object.values(outputs));
  const bytes = await encodeOnnx(assemble({ name: "measure", inputs, outputs }));
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const feeds = Object.fromEntries(
    inputs.map(({ name, shape }) => {
      const sizes = shape as number[];
      const values = new Float32Array(sizes.reduce((product, size) => product * size, 1));
      for (let i = 0; i < values.length; i++) values[i] = (((i * 40503) & 65535) / 65536 - 0.5) / 10;
      return [name as string, new ort.Tensor("float32", values, sizes)];
    }),
  );
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  writeFileSync("/proc/self/clear_refs", "5"); // the largest resident size counts from here
  const before = status("VmRSS");
  await session.run(feeds);
  const mebibytes = (status("VmHWM") - before) / 1024;
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 5; run++) {
    const start = process.cpuUsage();
    await session.run(feeds);
    const { user, system } = process.cpuUsage(start);
    least = Math.min(least, (user + system) / 1000);
  }
  await session.release();
  return { milliseconds: least, mebibytes };
}

if (process.argv[2] !== undefined && import.meta.url === new URL(process.argv[1], "file:").href) {
  console.log(JSON.stringify(await measure(JSON.parse(process.argv[2]) as Measurement)));
}
