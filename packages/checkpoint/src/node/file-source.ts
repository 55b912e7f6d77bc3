import { fstatSync } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { LoomweightError } from "@loomweight/tensor";
import { allocateBytes, checkByteRange } from "../byte-range.ts";
import type { ByteSource } from "../checkpoint.ts";
import { fileFault } from "./file-faults.ts";

/**
 * A file on disk, read positionally: straight into `into` where one is given, views of WebAssembly memory included.
 * Size and modification time are checked at every read: a file that changes meanwhile throws `FILE_CHANGED` rather
 * than give a mixture. `name` (default the path) is what messages call it.
 * Throws `MISSING_FILE`, `NOT_A_FILE`, `NOT_READABLE`, `READ_FAILED`.
 */
export async function fileSource(path: string, name = path): Promise<ByteSource> {
  const handle = await openRegularFile(path, name);
  const opened = fstatSync(handle.fd, { bigint: true });
  const size = Number(opened.size);
  let closed: Promise<void> | undefined;
  const changed = (found: string, cause?: unknown) =>
    new LoomweightError({
      code: "FILE_CHANGED",
      file: name,
      problem: "the file was changed while it was in use",
      expected: `${size} bytes as when it was opened`,
      found,
      fix: "Wait until nothing writes to it, then run this again.",
      cause,
    });
  return {
    name,
    size,
    async read(start, end, into) {
      checkByteRange(name, size, start, end, into);
      if (closed !== undefined)
        throw new LoomweightError({ code: "CLOSED", file: name, problem: "the file is closed" });
      const out = into ?? allocateBytes(name, end - start);
      let done = 0;
      try {
        while (done < out.length) {
          const { bytesRead } = await handle.read(out, done, Math.min(out.length - done, maxReadBytes), start + done);
          if (bytesRead === 0) throw changed(`its end at ${start + done}`);
          done += bytesRead;
        }
        const now = fstatSync(handle.fd, { bigint: true });
        if (now.size !== opened.size) throw changed(`${now.size}`);
        if (now.mtimeNs !== opened.mtimeNs) throw changed("a later modification time");
      } catch (cause) {
        throw cause instanceof LoomweightError ? cause : fileFault(cause, name, "READ_FAILED", "reading failed");
      }
      return out;
    },
    close() {
      closed ??= handle.close();
      return closed;
    },
  };
}

/** The kernel reads at most 2 GiB − 4 KiB at a time. */
const maxReadBytes = 2 ** 30;

async function openRegularFile(path: string, name: string): Promise<FileHandle> {
  try {
    // Before opening: a named pipe would wait for a writer, a device could give bytes for ever.
    const found = await stat(path);
    if (!found.isFile()) {
      throw new LoomweightError({
        code: "NOT_A_FILE",
        file: name,
        problem: found.isDirectory() ? "this is a folder" : "this is not a regular file",
        expected: "a file",
      });
    }
    return await open(path, "r");
  } catch (cause) {
    throw cause instanceof LoomweightError ? cause : fileFault(cause, name, "READ_FAILED", "opening failed");
  }
}
