/**
 * One call of each package as a user would make it, run after installing it alone. The package's exports are in
 * `library`; a wrong result throws. The code runs as an ES module and inside an async function of a CommonJS one.
 */
export const calls: Readonly<Record<string, string>> = {
  kernels: `
const kernels = library.createKernels({});
const codes = kernels.allocate(4);
codes.set([0x80, 0x3f, 0x00, 0xc0]); // bfloat16 1 and -2
const block = kernels.allocate(16);
const values = new Float64Array(block.buffer, block.byteOffset, 2);
kernels.load(values, "bfloat16", codes);
if (values[0] !== 1 || values[1] !== -2) throw new Error("wrong values: " + values);`,
  tensor: `
const tensor = library.fromData("float32", new Float32Array([1, 2, 3, 4]), [2, 2]);
if (tensor.stride.join() !== "2,1") throw new Error("wrong strides: " + tensor.stride);`,
  checkpoint: `
const header = new TextEncoder().encode('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  ');
const file = new Uint8Array(8 + header.length + 4);
new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
file.set(header, 8);
new DataView(file.buffer).setFloat32(8 + header.length, 1.5, true);
const checkpoint = await library.openSafetensors(library.bytesSource(file, "x.safetensors"));
const x = await checkpoint.read("x");
if (x.data[0] !== 1.5) throw new Error("wrong value: " + x.data[0]);`,
  data: `
const [order] = [...library.batchIndices(3, { batchSize: 3 })];
if (order.join() !== "0,1,2") throw new Error("wrong order: " + order);`,
  graph: `
const x = library.input("x", "float32", ["n", 2]);
const y = library.add(x, x);
if (y.shape.join() !== "n,2") throw new Error("wrong shape: " + y.shape);`,
  models: `
if (!library.isTask("text-generation") || library.isTask("text-generations")) throw new Error("wrong tasks");`,
  linalg: `
const matrix = { dtype: "float64", data: new Float64Array([3, 0, 0, -2]), shape: [2, 2], stride: [2, 1], offset: 0 };
const { singularValues } = library.svd(matrix);
if (singularValues.data.join() !== "3,2") throw new Error("wrong singular values: " + singularValues.data);`,
  optim: `
if (library.adamw().name !== "adamw") throw new Error("no adamw");`,
  rl: `
const volume = library.hypervolume([[0.6, 0.3], [0.4, 0.5]], [0, 0]);
if (Math.abs(volume - 0.26) > 1e-12) throw new Error("wrong hypervolume: " + volume);`,
  nas: `
const space = library.defineSpace(library.linearSpace("fc", { inputs: 2, outputs: library.choice("width", [1, 3]) }));
if (library.countParameters(space, { width: 1 }) !== 3) throw new Error("wrong size");`,
  shift: `
if (library.lame.name !== "lame") throw new Error("no lame");`,
  quant: `
if (Object.values(library).filter((each) => typeof each === "function").length === 0) throw new Error("no functions");`,
  adapters: `
if (library.lora.name !== "lora") throw new Error("no lora");`,
  train: `
if (library.objectives.join() !== "next-token,tokens,classes") throw new Error("wrong objectives: " + library.objectives);`,
  merge: `
if (library.linear.name !== "linear") throw new Error("no linear");`,
  "onnx-export": `
if (Object.keys(library).length === 0) throw new Error("no exports");`,
  cli: `
let out = "";
const stream = { write: (text) => { out += text; } };
const exitCode = await library.main(["--help"], { stdout: stream, stderr: stream });
if (exitCode !== 0 || !out.includes("loomweight")) throw new Error("wrong help: " + out);`,
};
