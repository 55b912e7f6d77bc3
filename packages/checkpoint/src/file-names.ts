import { LoomweightError } from "@loomweight/tensor";

/**
 * Whether `name`, found inside a file or given for an output, is a relative path with "/" that stays in its folder:
 * no absolute path, drive, "..", backslash, control character or hidden part, and nothing Windows cannot store.
 */
export function isPlainRelativePath(name: string): boolean {
  if (name.length === 0 || name.length > 1024) return false;
  if (/[\u0000-\u001f\u007f\\:*?"<>|]/.test(name) || /\p{Surrogate}/u.test(name)) return false;
  return name.split("/").every((part) => part.length > 0 && part.length <= 255 && !/^\.|[. ]$/.test(part));
}

/** Throws `UNSAFE_NAME` unless `name` is such a path. `file` holds the name. */
export function checkPlainRelativePath(name: string, file: string, what: string): void {
  if (isPlainRelativePath(name)) return;
  throw new LoomweightError({
    code: "UNSAFE_NAME",
    file,
    problem: `${what} is not a plain file name inside the folder`,
    found: JSON.stringify(name.slice(0, 200)),
    fix: "Names with .., absolute paths, hidden files and control characters are refused.",
  });
}

/** Order of the UTF-8 bytes of two texts, as Rust and Python's sort of names have it. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for characters above U+FFFF, so they come after every other unit.
    const high = (unit: number) => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
    return high(x) - high(y);
  }
  return a.length - b.length;
}
