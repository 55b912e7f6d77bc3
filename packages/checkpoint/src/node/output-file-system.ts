import { type FileHandle, open, statfs } from "node:fs/promises";

/** What writing an output asks of the disk; another one is given in tests, to see a disk fill up. */
export interface OutputFileSystem {
  /** Bytes that may still be written below `path`; undefined where the system does not say. */
  freeBytes(path: string): Promise<number | undefined>;
  open(path: string, flags: string): Promise<FileHandle>;
}

/** The disk itself. */
export function diskFileSystem(): OutputFileSystem {
  return {
    async freeBytes(path) {
      try {
        const { bavail, bsize } = await statfs(path);
        return bavail * bsize;
      } catch {
        return undefined; // some network file systems do not tell
      }
    },
    open: (path, flags) => open(path, flags),
  };
}

/** Flushes a folder's entries (which names it holds) to disk; systems that cannot, such as Windows, do without. */
export async function syncFolder(path: string): Promise<void> {
  try {
    const handle = await open(path, "r");
    await handle.sync().finally(() => handle.close());
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code !== "EPERM" && code !== "EISDIR" && code !== "EINVAL" && code !== "EACCES") throw error;
  }
}
