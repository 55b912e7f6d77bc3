import { LoomweightError } from "@loomweight/tensor";

const known: Readonly<Record<string, { code: string; problem: string; fix?: string }>> = {
  ENOENT: { code: "MISSING_FILE", problem: "no such file or folder" },
  ENOTDIR: { code: "MISSING_FILE", problem: "a part of the path is not a folder" },
  EISDIR: { code: "NOT_A_FILE", problem: "this is a folder" },
  EACCES: { code: "NOT_PERMITTED", problem: "permission denied" },
  EPERM: { code: "NOT_PERMITTED", problem: "permission denied" },
  EROFS: { code: "NOT_PERMITTED", problem: "the file system is read-only" },
  ELOOP: { code: "MISSING_FILE", problem: "symbolic links that lead in a circle" },
  ENAMETOOLONG: { code: "INVALID_PATH", problem: "the path is too long" },
  EMFILE: { code: "TOO_MANY_FILES", problem: "too many open files", fix: "Raise the limit (ulimit -n)." },
  ENFILE: { code: "TOO_MANY_FILES", problem: "too many open files", fix: "Raise the limit (ulimit -n)." },
  EFBIG: { code: "FILE_TOO_LARGE", problem: "the file system does not hold files of this size" },
};

/** The error code of Node's file functions: `"ENOENT"`. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}

/** A file function's error told in this project's way; `code` and `problem` for what has no words of its own. */
export function fileFault(cause: unknown, file: string, code: string, problem: string): LoomweightError {
  const system = systemCode(cause);
  // Paths with a NUL byte and the like.
  if (system === "ERR_INVALID_ARG_VALUE")
    return new LoomweightError({ code: "INVALID_PATH", file, problem: "not a path", cause });
  const facts = system === undefined ? undefined : known[system];
  return new LoomweightError({ code, problem, file, ...facts, found: facts === undefined ? system : undefined, cause });
}

/** Whether an error says that the disk, or the user's share of it, is full. */
export function isDiskFull(error: unknown): boolean {
  const code = systemCode(error);
  return code === "ENOSPC" || code === "EDQUOT";
}

/** No room for an output. `free` and `needed` in bytes, where they are known. */
export function diskFull(
  file: string,
  needed: number | undefined,
  free: number | undefined,
  cause?: unknown,
): LoomweightError {
  return new LoomweightError({
    code: "DISK_FULL",
    file,
    problem: "not enough free space for the output",
    expected: needed === undefined ? undefined : `${describeBytes(needed)} free`,
    found: free === undefined ? undefined : describeBytes(free),
    fix: "Free some space, or write to another disk.",
    cause,
  });
}

function describeBytes(bytes: number): string {
  if (bytes < 10_000) return `${bytes} bytes`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]} (${bytes} bytes)`;
}
