import { tensorFromBytes, writeSafetensors } from "@loomweight/checkpoint";
import type { Tensor } from "@loomweight/tensor";
import type { Adapter } from "./adapter.ts";
import { commonFields, targetFields } from "./fields.ts";
import { pythonJson } from "./python-json.ts";

/** The two files of a PEFT folder. */
export interface AdapterFiles {
  /** adapter_config.json */
  readonly config: string;
  /** adapter_model.safetensors */
  readonly weights: Uint8Array<ArrayBuffer>;
}

/** An adapter as PEFT writes it: one that was read comes back byte for byte. Reads all of its tensors. */
export async function writeAdapter(adapter: Adapter): Promise<AdapterFiles> {
  const { checkpoint, config, method } = adapter;
  const tensors = new Map<string, Tensor>();
  for (const { name, dtype, shape } of checkpoint.tensors.values()) {
    tensors.set(name, tensorFromBytes(dtype, shape, await checkpoint.readBytes(name)));
  }
  return {
    config: pythonJson(config.written, { ...commonFields, ...targetFields, ...method.files.fields }),
    weights: writeSafetensors(tensors, { metadata: checkpoint.metadata }),
  };
}
