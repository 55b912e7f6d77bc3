/**
 * Changes valid safetensors files at random, a million times by default, and opens what comes out: only
 * LoomweightErrors may be thrown, in bounded time. Prints the seed of the first failure and ends with 1.
 *
 *   pnpm --filter @loomweight/checkpoint fuzz [count] [seed]
 */
import { LoomweightError } from "@loomweight/tensor";
import { bytesSource, openSafetensors, safetensorsDTypes, tensorFromBytes, writeSafetensors } from "../src/index.ts";

/** A small generator (mulberry32): the same numbers for the same seed. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function validFile(random: (below: number) => number): Uint8Array {
  const tensors = new Map(
    Array.from({ length: random(5) }, (_, i) => {
      const [, dtype] = safetensorsDTypes[random(safetensorsDTypes.length)];
      const shape = [random(3), 4];
      const empty = shape[0] === 0;
      const bits = { float4_e2m1fn: 4, float6_e2m3fn: 6, float6_e3m2fn: 6 }[dtype as string];
      const width = bits ?? 8 * bytesPerElement(dtype);
      return [
        `t${i}"é`.slice(0, 1 + random(4)) + i,
        tensorFromBytes(dtype, shape, new Uint8Array(empty ? 0 : (shape[0] * 4 * width) / 8)),
      ];
    }),
  );
  return writeSafetensors(tensors, { metadata: random(2) === 0 ? {} : { format: "pt", note: 'a"b' } });
}

function bytesPerElement(dtype: string): number {
  if (/64/.test(dtype)) return 8;
  if (/32/.test(dtype)) return 4;
  return /16/.test(dtype) ? 2 : 1;
}

const pieces = [
  "{",
  "}",
  "[",
  "]",
  '"',
  ",",
  ":",
  "\\",
  "\\u",
  "-",
  "0",
  "9",
  ".",
  "e9",
  " ",
  "\n",
  "\0",
  "null",
  "true",
  "é",
  "1e999",
];
const insertable = pieces.map((text) => new TextEncoder().encode(text));

/** One to three edits: bytes flipped, taken out, put in, repeated; the header's length follows half of the time. */
function mutate(file: Uint8Array, random: (below: number) => number): Uint8Array {
  let bytes = [...file];
  for (let edits = 1 + random(3); edits > 0; edits--) {
    // Mostly in the header, where the meaning lies.
    const at = random(4) === 0 ? random(bytes.length + 1) : Math.min(bytes.length, 8 + random(200));
    const kind = random(4);
    if (kind === 0 && at < bytes.length) bytes[at] ^= 1 << random(8);
    else if (kind === 1) bytes.splice(at, 1 + random(6));
    else if (kind === 2) bytes.splice(at, random(2), ...insertable[random(insertable.length)]);
    else bytes.splice(at, 0, ...bytes.slice(at, at + random(40)));
  }
  if (random(2) === 0 && bytes.length >= 8) {
    const view = new DataView(new ArrayBuffer(8));
    for (let i = 0; i < 8; i++) view.setUint8(i, bytes[i]);
    view.setBigUint64(0, BigInt.asUintN(64, view.getBigUint64(0, true) + BigInt(bytes.length - file.length)), true);
    bytes = [...new Uint8Array(view.buffer), ...bytes.slice(8)];
  }
  return new Uint8Array(bytes);
}

async function fuzz(count: number, firstSeed: number): Promise<void> {
  const codes = new Map<string, number>();
  const start = performance.now();
  let slowest = 0;
  for (let i = 0; i < count; i++) {
    const seed = firstSeed + i;
    const random = randomNumbers(seed);
    const file = mutate(validFile(random), random);
    const before = process.cpuUsage();
    let code = "opened";
    try {
      const checkpoint = await openSafetensors(bytesSource(file, "fuzz.safetensors"));
      for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
    } catch (error) {
      if (!(error instanceof LoomweightError)) {
        console.error(`seed ${seed}:`, error);
        process.exitCode = 1;
        return;
      }
      code = error.code;
    }
    // of the processor's time: a busy machine is no slow reader
    const { user, system } = process.cpuUsage(before);
    slowest = Math.max(slowest, (user + system) / 1000);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  const seconds = (performance.now() - start) / 1000;
  console.log(`${count} files in ${seconds.toFixed(1)} s, the slowest in ${slowest.toFixed(1)} ms`);
  for (const [code, times] of [...codes].sort(([, a], [, b]) => b - a))
    console.log(`${String(times).padStart(9)}  ${code}`);
}

void fuzz(Number(process.argv[2] ?? 1_000_000), Number(process.argv[3] ?? 1));
