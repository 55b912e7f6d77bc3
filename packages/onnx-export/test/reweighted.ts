import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { openModel, saveSafetensors } from "@loomweight/checkpoint/node";
import { createRandom, fromData, isFloat, type Tensor, toFloat32 } from "@loomweight/tensor";

/** A folder for the time of `use`. */
export async function withFolder<T>(use: (root: string) => Promise<T>): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), "loomweight-reweight-"));
  try {
    return await use(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** Weights of a model folder. */
export async function weightsOf(folder: string): Promise<Map<string, Tensor>> {
  const { checkpoint, close } = await openModel(folder);
  try {
    const tensors = new Map<string, Tensor>();
    for (const name of checkpoint.tensors.keys()) tensors.set(name, await checkpoint.read(name));
    return tensors;
  } finally {
    await close();
  }
}

/** A model like `base` with other weights: every float is 0.9 of what it was plus noise. `change` may do more. */
export async function otherModel(
  base: string,
  out: string,
  change: (tensors: Map<string, Tensor>) => void = () => {},
): Promise<string> {
  const tensors = await weightsOf(base);
  for (const [name, tensor] of tensors) {
    if (!isFloat(tensor.dtype)) continue;
    const random = createRandom(7, name);
    const noise = name.endsWith("running_var") ? 0 : 0.05;
    const values = toFloat32(tensor).map((value, at) => 0.9 * value + noise * random.normal(at));
    tensors.set(name, fromData("float32", Float32Array.from(values), tensor.shape));
  }
  change(tensors);
  await mkdir(out, { recursive: true });
  await cp(join(base, "config.json"), join(out, "config.json"));
  await saveSafetensors(join(out, "model.safetensors"), tensors, { metadata: { format: "pt" } });
  return out;
}

/** An export made by torch, unpacked into `root`. */
export async function torchExport(name: string, root: string): Promise<string> {
  const packed = await readFile(new URL(`data/torch-${name}.onnx.gz`, import.meta.url));
  const path = join(root, `${name}.onnx`);
  await writeFile(path, gunzipSync(packed));
  return path;
}
