import { createKernels } from "@loomweight/kernels";
import { type ExecuteOptions, trackProgress } from "./execute.ts";
import { createEngine, engineBytes } from "./lazy/engine.ts";
import type { FolderMerge } from "./merge-folders.ts";
import { mergeTensor } from "./merge-tensor.ts";

/** A weight file that is about to be written, and how long it will be. */
export interface StreamedFile {
  readonly name: string;
  readonly size: number;
}

export interface StreamMergeOptions
  extends Pick<ExecuteOptions, "seed" | "allowNonFinite" | "signal" | "onProgress" | "newKernels"> {}

/**
 * Carries out a merge into streams, every weight file from its first byte to its last: for uploads, downloads and files
 * that can only be written in order. `open` gives the stream of each file when its turn comes; the index of several
 * files comes last. Memory is that of a few tiles, and the stream's own pressure holds the merge back. A stream is
 * closed when its file is whole, and aborted when anything fails. Throws as `executePlan`, and what streams throw.
 */
export async function streamMerge(
  merge: Pick<FolderMerge, "plan" | "method" | "checkpoints" | "layout">,
  open: (file: StreamedFile) => WritableStream<Uint8Array> | Promise<WritableStream<Uint8Array>>,
  options: StreamMergeOptions = {},
): Promise<void> {
  const { plan, method, checkpoints, layout } = merge;
  const { newKernels = () => createKernels({ bytes: engineBytes }), onProgress, ...each } = options;
  const engine = createEngine({ kernels: newKernels() });
  const progress = trackProgress(plan, new Set(), onProgress);
  const planned = new Map(plan.tensors.map((tensor) => [tensor.name, tensor]));

  const writeFile = async (file: StreamedFile, work: (write: Write) => Promise<void>): Promise<void> => {
    each.signal?.throwIfAborted();
    const writer = (await open(file)).getWriter();
    try {
      await work(async (bytes) => {
        await writer.ready;
        // A copy: a stream may keep what it was given, and the engine uses its memory again.
        await writer.write(bytes.slice());
      });
      await writer.close();
    } catch (error) {
      await writer.abort(error).catch(() => undefined); // a stream that failed by itself is aborted already
      throw error;
    }
  };
  for (const [index, { name, size, header }] of layout.files.entries()) {
    await writeFile({ name, size }, async (write) => {
      await write(header);
      let at = header.length;
      const inOrder = [...layout.tensors]
        .filter(([, { file }]) => file === index)
        .sort(([, a], [, b]) => a.position - b.position);
      for (const [tensorName, { position }] of inOrder) {
        const tensor = planned.get(tensorName);
        if (tensor === undefined) throw new Error(`the layout has "${tensorName}", which the plan has not`);
        const sink = async (_: string, start: number, bytes: Uint8Array): Promise<void> => {
          if (position + start !== at) throw new Error(`"${tensorName}" came at ${position + start} instead of ${at}`);
          at += bytes.length;
          const count = bytes.length;
          await write(bytes);
          progress.written(tensorName, count);
        };
        await mergeTensor(tensor, method, checkpoints, engine, sink, each);
        progress.finished(tensorName);
      }
    });
  }
  if (layout.index === undefined) return;
  const bytes = new TextEncoder().encode(layout.index);
  await writeFile({ name: "model.safetensors.index.json", size: bytes.length }, (write) => write(bytes));
}

type Write = (bytes: Uint8Array) => Promise<void>;
