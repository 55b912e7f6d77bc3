import { InvalidArgumentError } from "commander";

// What the texts of options say. Each throws `InvalidArgumentError`, which the command line shows with the option.

/** "fp32,q4" → ["fp32", "q4"], without repetitions. */
export function parseList(text: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.some((name) => name === "")) throw new InvalidArgumentError("Names separated by commas are needed.");
  return [...new Set(names)];
}

/** "0.7,-0.4" → [0.7, -0.4]. */
export function parseNumbers(text: string): number[] {
  return text.split(",").map((part) => {
    const number = part.trim() === "" ? Number.NaN : Number(part);
    if (!Number.isFinite(number)) throw new InvalidArgumentError("Numbers separated by commas are needed.");
    return number;
  });
}

/** "5GB", "500 MB", "1.5GiB", "4096" → bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?$/i.exec(text.trim());
  const power = match?.[2] === undefined ? 0 : "kmgt".indexOf(match[2].toLowerCase()) + 1;
  const bytes = match === null ? Number.NaN : Math.floor(Number(match[1]) * (match[3] ? 1024 : 1000) ** power);
  if (!Number.isSafeInteger(bytes) || bytes < 1) throw new InvalidArgumentError("A size such as 5GB is needed.");
  return bytes;
}

export function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError("A whole number above 0 is needed.");
  return Number(text);
}

export function parsePositive(text: string): number {
  const number = text.trim() === "" ? Number.NaN : Number(text);
  if (!Number.isFinite(number) || number <= 0) throw new InvalidArgumentError("A number above 0 is needed.");
  return number;
}

export function parseShare(text: string): number {
  const number = parsePositive(text);
  if (number > 1) throw new InvalidArgumentError("A number above 0 and at most 1 is needed.");
  return number;
}
