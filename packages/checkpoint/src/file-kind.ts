import type { ErrorDetails } from "@loomweight/tensor";

/** How much of a file `recogniseFile` wants to see. */
export const recogniseBytes = 512;

const unsupported = (file: string, what: string, fix: string): ErrorDetails => ({
  code: "UNSUPPORTED_FORMAT",
  file,
  problem: `${what} files are not supported yet`,
  expected: "safetensors",
  fix,
});

const convert = "Save the model as safetensors (transformers: save_pretrained with safe_serialization=True).";

/** Refusal of weights in another format, told from the name alone; undefined for anything else. */
export function refuseByName(file: string): ErrorDetails | undefined {
  const name = file.toLowerCase();
  if (/\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?$/.test(name)) return unsupported(file, "PyTorch pickle", convert);
  if (/\.(gguf|ggml)$/.test(name)) {
    return unsupported(file, "GGUF", "Use the safetensors files of the model it was made from.");
  }
  if (name.endsWith(".onnx")) {
    return unsupported(file, "ONNX weight", "Use the safetensors files of the model it was made from.");
  }
  if (/\.(h5|hdf5|keras|msgpack|npz|npy|tflite|pb)$/.test(name)) {
    return unsupported(file, `"${name.slice(name.lastIndexOf("."))}"`, convert);
  }
  return undefined;
}

/** What a file that is no safetensors file is instead, told from its first bytes; undefined when it is not known. */
export function recogniseFile(head: Uint8Array, file: string): ErrorDetails | undefined {
  let text = "";
  for (const byte of head.subarray(0, recogniseBytes)) text += String.fromCharCode(byte);
  const trimmed = text.replace(/^\u00ef\u00bb\u00bf/, "").trimStart();
  if (trimmed.startsWith("version https://git-lfs")) {
    const size = /^size (\d+)/m.exec(trimmed)?.[1];
    return {
      code: "GIT_LFS_POINTER",
      file,
      problem: "this is a Git LFS pointer, the weights themselves were not downloaded",
      expected: size === undefined ? "the file it points to" : `the file of ${size} bytes it points to`,
      fix: "Run `git lfs pull` in its repository, or download the file.",
    };
  }
  if (/^<(!doctype|html|\?xml|!--)/i.test(trimmed)) {
    return {
      code: "NOT_SAFETENSORS",
      file,
      problem: "this is a web page, not weights",
      fix: "Download again: a login, a licence to accept or a wrong address often gives a page instead of the file.",
    };
  }
  if (text.startsWith("GGUF")) return { ...refuseByName("x.gguf")!, file };
  if (text.startsWith("PK\u0003\u0004") || /^\u0080[\u0002-\u0005]/.test(text)) {
    return unsupported(file, "PyTorch pickle", convert);
  }
  if (text.startsWith("\u0089HDF")) return unsupported(file, "HDF5", convert);
  if (text.startsWith("\u0093NUMPY")) return unsupported(file, "NumPy", convert);
  if (/^[{[]\s*["{[\]}]/.test(trimmed) || /^(error|access denied|not found|entry not found|invalid)/i.test(trimmed)) {
    const start = trimmed.slice(0, 60).split("\n")[0];
    return {
      code: "NOT_SAFETENSORS",
      file,
      problem: "this is text, not weights",
      found: JSON.stringify(start),
      fix: "Download the file again.",
    };
  }
  return undefined;
}
