import {
  failureOf,
  type StoreAnswer,
  type StoredFile,
  type StoreKind,
  type StorePlace,
  type StoreReport,
  type StoreRequest,
  type StoreWrite,
} from "./protocol.ts";

/** Where the bytes of an output go: any position of any file, in any order. */
interface Store {
  readonly where: StoreKind;
  write(file: number, position: number, bytes: Uint8Array<ArrayBuffer>): void | Promise<void>;
  finish(): Promise<Blob[]>;
}

/** Positional writing of a file in workers; the types of documents leave it out. */
interface SyncAccessHandle {
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { readonly at: number }): number;
  flush(): void;
  close(): void;
}

const openHandle = (handle: FileSystemFileHandle) =>
  (handle as unknown as { createSyncAccessHandle(): Promise<SyncAccessHandle> }).createSyncAccessHandle();

/** Files in the origin's private file system: their size is bounded by the disk. */
async function diskStore(folder: string, files: readonly StoredFile[]): Promise<Store> {
  const root = await navigator.storage.getDirectory();
  const directory = await root.getDirectoryHandle(folder, { create: true });
  const handles = await Promise.all(files.map((_, index) => directory.getFileHandle(String(index), { create: true })));
  const open = await Promise.all(handles.map(openHandle));
  // Room for all of it is found now or not at all.
  for (const [index, { size }] of files.entries()) open[index].truncate(size);
  return {
    where: "disk",
    write(file, position, bytes) {
      const count = open[file].write(bytes, { at: position });
      if (count !== bytes.length)
        throw new Error(`the browser's storage took ${count} of ${bytes.length} bytes: it is full`);
    },
    async finish() {
      for (const handle of open) {
        handle.flush();
        handle.close();
      }
      return Promise.all(handles.map((handle) => handle.getFile()));
    },
  };
}

/** Files in a folder that the user chose: they take their names there when all is written, and not before. */
async function folderStore(directory: FileSystemDirectoryHandle, files: readonly StoredFile[]): Promise<Store> {
  const open = await Promise.all(
    files.map(async ({ name }) => (await directory.getFileHandle(name, { create: true })).createWritable()),
  );
  // Room for all of it is found now or not at all.
  await Promise.all(open.map((stream, index) => stream.truncate(files[index].size)));
  return {
    where: "folder",
    write: (file, position, bytes) => open[file].write({ type: "write", position, data: bytes }),
    async finish() {
      await Promise.all(open.map((stream) => stream.close()));
      return [];
    },
  };
}

/** For browsers without such a file system (private windows, older ones). */
function memoryStore(files: readonly StoredFile[]): Store {
  const buffers = files.map(({ size }) => new Uint8Array(size));
  return {
    where: "memory",
    write(file, position, bytes) {
      buffers[file].set(bytes, position);
    },
    async finish() {
      return buffers.map((bytes) => new Blob([bytes]));
    },
  };
}

const maxMemoryBytes = 2e9;

async function openStore(place: StorePlace, files: readonly StoredFile[]): Promise<Store> {
  if (place.kind === "folder") return folderStore(place.directory, files);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const hasDisk = typeof navigator.storage?.getDirectory === "function";
  try {
    if (hasDisk) return await diskStore(place.folder, files);
  } catch (error) {
    if (total > maxMemoryBytes) throw error;
  }
  if (total > maxMemoryBytes) {
    throw new Error("this browser offers no private file system, and the merged model is too large for memory");
  }
  return memoryStore(files);
}

let store: Store | undefined;
const report = (message: StoreReport) => postMessage(message);

/** Takes the writes that come through a port and answers each: whoever writes waits, so few bytes are in flight. */
function serve(port: MessagePort): void {
  port.onmessage = async ({ data: { id, file, position, bytes } }: MessageEvent<StoreWrite>) => {
    const answer = (message: StoreAnswer) => port.postMessage(message);
    try {
      if (store === undefined) throw new Error("nothing is open to be written");
      await store.write(file, position, bytes);
      answer({ id });
    } catch (error) {
      answer({ id, failure: failureOf(error) });
    }
  };
}

addEventListener("message", async ({ data }: MessageEvent<StoreRequest>) => {
  try {
    if (data.kind === "connect") serve(data.port);
    else if (data.kind === "open") {
      store = await openStore(data.place, data.files);
      report({ kind: "opened", where: store.where });
    } else report({ kind: "finished", files: (await store?.finish()) ?? [] });
  } catch (error) {
    report({ kind: "failed", failure: failureOf(error) });
  }
});
