import { bytesSource, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import type { ShiftState } from "./define.ts";

const key = "loomweight.shift";

/** A state as one safetensors file, in Node and browsers alike; numbers and texts go into its metadata. */
export function encodeState(state: ShiftState): Uint8Array<ArrayBuffer> {
  const tensors = new Map<string, Tensor>();
  const plain: Record<string, number | string | boolean> = {};
  for (const [name, value] of Object.entries(state)) {
    if (typeof value === "object") tensors.set(name, value);
    else plain[name] = value;
  }
  return writeSafetensors(tensors, { metadata: { [key]: JSON.stringify(plain) } });
}

/** Reads what `encodeState` wrote. Throws `NOT_A_STATE`, and what the reader of safetensors throws. */
export async function decodeState(bytes: Uint8Array): Promise<ShiftState> {
  const file = await openSafetensors(bytesSource(bytes, "state"));
  const state: Record<string, Tensor | number | string | boolean> = readPlain(file.metadata[key]);
  for (const name of file.tensors.keys()) state[name] = await file.read(name);
  await file.close();
  return state;
}

function readPlain(text: string | undefined): Record<string, number | string | boolean> {
  let found: unknown;
  try {
    found = JSON.parse(text ?? "");
  } catch {
    // said below
  }
  const plain =
    typeof found === "object" && found !== null && !Array.isArray(found) ? Object.entries(found) : undefined;
  if (plain?.every(([, value]) => ["number", "string", "boolean"].includes(typeof value))) {
    return Object.fromEntries(plain);
  }
  throw new LoomweightError({
    code: "NOT_A_STATE",
    problem: "the file holds no state of an adapter",
    expected: `"${key}" in its metadata`,
    fix: "Give what `encodeState` wrote.",
  });
}
