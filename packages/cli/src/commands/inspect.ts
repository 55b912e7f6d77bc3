import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { LoomweightError } from "@loomweight/tensor/errors";
import type { CommandContext } from "../context.ts";

/** `loomweight inspect PATH`: what a checkpoint, model folder, adapter, export or ONNX file holds. */
export async function inspect(context: CommandContext, options: { tensors?: boolean }, path: string): Promise<void> {
  const all = options.tensors === true;
  const kind = await kindOf(path);
  if (kind.is === "onnx") return (await import("./inspect-onnx.ts")).inspectOnnx(context, all, path, kind.files);
  if (kind.is === "adapter file") return (await import("./inspect-adapter.ts")).inspectAdapter(context, all, path);
  return (await import("./inspect-weights.ts")).inspectWeights(context, all, path);
}

type Kind = { readonly is: "weights" | "adapter file" } | { readonly is: "onnx"; readonly files: readonly string[] };

/** An ONNX file, an adapter for one, a folder with ONNX files and no weights of its own, or anything else (weights, or refused as such). */
async function kindOf(path: string): Promise<Kind> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw cause;
    throw new LoomweightError({ code: "MISSING_FILE", file: path, problem: "no such file or folder" });
  });
  if (!found.isDirectory() && path.endsWith(".onnx_adapter")) return { is: "adapter file" };
  if (!found.isDirectory()) return path.endsWith(".onnx") ? { is: "onnx", files: [path] } : { is: "weights" };
  const names = await readdir(path);
  if (names.some((name) => /\.safetensors(\.index\.json)?$/.test(name))) return { is: "weights" };
  const inner = names.includes("onnx") ? await readdir(join(path, "onnx")).catch(() => []) : [];
  const files = [
    ...names.filter((name) => name.endsWith(".onnx")).map((name) => join(path, name)),
    ...inner.filter((name) => name.endsWith(".onnx")).map((name) => join(path, "onnx", name)),
  ];
  return files.length > 0 ? { is: "onnx", files: files.sort() } : { is: "weights" };
}
