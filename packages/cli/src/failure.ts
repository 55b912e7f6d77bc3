import type { LoomweightError } from "@loomweight/tensor/errors";
import { isUsageError } from "./usage-error.ts";

/** How a failure ends the command. */
export interface Failure {
  /** 1: the input or environment is at fault, or a fault of ours; 2: usage. */
  readonly exitCode: 1 | 2;
  readonly code: string;
  readonly message: string;
}

/** System errors that say something about the user's files, in words. */
const systemProblems: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  EACCES: "no permission",
  EPERM: "not permitted",
  EISDIR: "is a folder, a file is needed",
  ENOTDIR: "a part of the path is not a folder",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  EMFILE: "too many open files",
  ENAMETOOLONG: "the name is too long",
  EBUSY: "is in use by another program",
  EIO: "the disk reports an error",
};

/** What to tell the user about anything that was thrown. */
export function describeFailure(error: unknown): Failure {
  if (isUsageError(error)) return { exitCode: 2, code: "USAGE", message: error.message };
  if (isLoomweightError(error)) return { exitCode: 1, code: error.code, message: error.message };
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    const problem = systemProblems[error.code];
    const path = "path" in error && typeof error.path === "string" ? `${error.path}: ` : "";
    if (problem !== undefined) return { exitCode: 1, code: error.code, message: `${path}${problem}.` };
  }
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return {
    exitCode: 1,
    code: "INTERNAL",
    message: `this is a fault of loomweight, not of your input: ${text}. Run again with --debug for where, and please report it.`,
  };
}

/** By name, so that an error made by another copy of the tensor package counts too. */
function isLoomweightError(error: unknown): error is LoomweightError {
  return error instanceof Error && error.name === "LoomweightError" && "code" in error;
}

/** The stack and those of its causes, for --debug. */
export function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? error.message;
  return error.cause === undefined ? own : `${own}\ncaused by: ${stackOf(error.cause)}`;
}
