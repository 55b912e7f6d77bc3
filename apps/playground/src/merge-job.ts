import type { FolderMerge } from "@loomweight/merge";
import { byteLengthOf, elementCount } from "@loomweight/tensor";
import { planFromShelf, type Shelf } from "./models.ts";
import type { Failure, MergeReport, MergeTask, StoreKind, StorePlace, StoreReport, StoreRequest } from "./protocol.ts";
import { storeWriter } from "./store-port.ts";

/** A file of a merged model. */
export interface MergedFile {
  readonly name: string;
  readonly content: Blob;
}

export interface MergeJob {
  readonly recipe: string;
  readonly shelf: Shelf;
  /** Of methods and settings that draw at random. */
  readonly seed: number;
  readonly place: StorePlace;
  readonly signal: AbortSignal;
  /** Threads; at most as many as there are tensors. */
  readonly workers: number;
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void;
}

export interface MergeResult {
  /** Weights first; of a merge into a folder of the user's, what was written beside them. */
  readonly files: readonly MergedFile[];
  readonly workers: number;
  readonly where: StoreKind;
  readonly bytes: number;
}

/** A failure of a worker, thrown on the page. */
export class WorkerFailure extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/**
 * Merges in Web Workers: each opens the Blobs for itself and sends finished tiles to one store worker, which writes
 * them where the plan says. Nothing is shared between threads. The bytes are those of `loomweight merge`.
 */
export async function runMerge(job: MergeJob): Promise<MergeResult> {
  const { recipe, shelf, seed, place, signal, onProgress } = job;
  const merge = await planFromShelf(recipe, shelf, seed);
  if (place.kind === "folder") await refuseTaken(place.directory, merge);
  const parts = divide(merge, job.workers);
  const total = [...merge.layout.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const running: Worker[] = [];
  const start = (script: string): Worker => {
    const worker = new Worker(new URL(script, import.meta.url), { type: "module" });
    running.push(worker);
    return worker;
  };
  let stop: (reason: unknown) => void = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = reject;
  });
  stopped.catch(() => undefined); // whoever waits for it learns of it
  const onAbort = () => stop(signal.reason);
  signal.addEventListener("abort", onAbort);
  let whole = false;
  try {
    signal.throwIfAborted();
    const storeWorker = start("store-worker.js");
    const store = storeConversation(storeWorker, stop);
    const files = merge.layout.files.map(({ name, size }) => ({ name, size }));
    const { where } = await Promise.race([store.ask({ kind: "open", place, files }, "opened"), stopped]);
    const writeHeader = storeWriter(connect(storeWorker));
    for (const [index, { header }] of merge.layout.files.entries()) await writeHeader(index, 0, header);

    let done = 0;
    onProgress(0, total);
    const hands = parts.map(
      (tensors) =>
        new Promise<void>((resolve) => {
          const worker = start("merge-worker.js");
          worker.onmessage = ({ data }: MessageEvent<MergeReport>) => {
            if (data.kind === "written") onProgress((done += data.bytes), total);
            else if (data.kind === "done") resolve();
            else stop(new WorkerFailure(data.failure));
          };
          worker.onerror = (event) => stop(new Error(event.message || "a worker of this page did not start"));
          const port = connect(storeWorker);
          const task: MergeTask = { recipe, shelf, seed, tensors, store: port };
          worker.postMessage(task, [port]);
        }),
    );
    await Promise.race([Promise.all(hands), stopped]);
    const { files: contents } = await Promise.race([store.ask({ kind: "finish" }, "finished"), stopped]);
    whole = true;
    const others = await companions(merge);
    if (place.kind === "folder") await saveInto(place.directory, others);
    const weights = contents.map((content, index) => ({ name: files[index].name, content }));
    return { files: [...weights, ...others], workers: parts.length, where, bytes: total };
  } finally {
    signal.removeEventListener("abort", onAbort);
    for (const worker of running) worker.terminate();
    if (!whole && place.kind === "folder") await takeBack(place.directory, merge);
  }
}

/** A merge does not write over weights that are there: those of a folder would no longer belong together. */
async function refuseTaken(directory: FileSystemDirectoryHandle, { layout }: FolderMerge): Promise<void> {
  for (const name of [...layout.files.map((file) => file.name), "config.json"]) {
    const found = await directory.getFileHandle(name).catch(() => undefined);
    if (found !== undefined)
      throw new Error(`The folder "${directory.name}" has a ${name} already: choose an empty one.`);
  }
}

/** Removes the empty files that a merge began with; the store lets go of them a moment after its end. */
async function takeBack(directory: FileSystemDirectoryHandle, { layout }: FolderMerge): Promise<void> {
  for (const { name } of layout.files) {
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        await directory.removeEntry(name);
        break;
      } catch (error) {
        if ((error as { readonly name?: unknown }).name === "NotFoundError") break;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
}

async function saveInto(directory: FileSystemDirectoryHandle, files: readonly MergedFile[]): Promise<void> {
  for (const { name, content } of files) {
    const parts = name.split("/");
    let folder = directory;
    for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part, { create: true });
    const handle = await folder.getFileHandle(parts.at(-1) ?? name, { create: true });
    await content.stream().pipeTo(await handle.createWritable());
  }
}

/** Gives every worker about the same number of bytes: largest first, each to the one that has least. */
function divide({ plan }: FolderMerge, workers: number): string[][] {
  const sized = plan.tensors.map(({ name, dtype, shape }) => ({
    name,
    bytes: byteLengthOf(dtype, elementCount(shape)),
  }));
  const count = Math.max(1, Math.min(workers, sized.length));
  const parts = Array.from({ length: count }, () => ({ bytes: 0, names: [] as string[] }));
  for (const { name, bytes } of sized.sort((a, b) => b.bytes - a.bytes)) {
    const least = parts.reduce((a, b) => (b.bytes < a.bytes ? b : a));
    least.bytes += bytes;
    least.names.push(name);
  }
  return parts.map(({ names }) => names);
}

function connect(store: Worker): MessagePort {
  const { port1, port2 } = new MessageChannel();
  const request: StoreRequest = { kind: "connect", port: port2 };
  store.postMessage(request, [port2]);
  return port1;
}

function storeConversation(worker: Worker, stop: (reason: unknown) => void) {
  let answered: ((report: StoreReport) => void) | undefined;
  worker.onmessage = ({ data }: MessageEvent<StoreReport>) => {
    if (data.kind === "failed") stop(new WorkerFailure(data.failure));
    else answered?.(data);
  };
  worker.onerror = (event) => stop(new Error(event.message || "the page's store did not start"));
  return {
    ask<Kind extends StoreReport["kind"]>(request: StoreRequest, _answer: Kind) {
      return new Promise<Extract<StoreReport, { kind: Kind }>>((resolve) => {
        answered = (report) => resolve(report as Extract<StoreReport, { kind: Kind }>);
        worker.postMessage(request);
      });
    },
  };
}

/** Everything but the weights, and the index where the weights are several files. */
async function companions(merge: FolderMerge): Promise<MergedFile[]> {
  const files: MergedFile[] = [];
  const { index } = merge.layout;
  if (index !== undefined) files.push({ name: "model.safetensors.index.json", content: new Blob([index]) });
  await merge.writeCompanions({
    async writeFile(name, content) {
      files.push({ name, content: new Blob([content as string | Uint8Array<ArrayBuffer>]) });
    },
    async copyFile(name, source) {
      const bytes = await source.read(0, source.size);
      files.push({ name, content: new Blob([bytes as Uint8Array<ArrayBuffer>]) });
    },
  });
  return files;
}
