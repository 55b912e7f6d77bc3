// Probes every op of the tables on every provider and writes src/capabilities/generated.ts.
//   node --conditions=@loomweight/source --import tsx packages/graph/scripts/capabilities/run.ts [provider…] [--missing]
// --missing probes only the ops that have no row yet.
// WebGPU needs a driver: Chromium's SwiftShader will do (see test/runtime/webgpu-driver.ts).
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { webgpuEnvironment } from "../../test/runtime/webgpu-driver.ts";
import { probedOps } from "./plan.ts";

/** op → domain → dtypes, "~" after one that only some forms of the op have. */
type Found = Map<string, string[]>;

const probe = fileURLToPath(new URL("probe.ts", import.meta.url));
const output = new URL("../../src/capabilities/generated.ts", import.meta.url);

const keyOf = (op: string, domain: string) => `${domain}\u0000${op}`;

/** Probes in a process of its own, and in another one after each crash: some kernels abort instead of failing. */
async function probeAll(provider: string, indices: readonly number[]): Promise<Found> {
  const found: Found = new Map();
  const ops = probedOps();
  let rest = indices;
  while (rest.length > 0) {
    let begun = -1;
    let ended = false;
    const environment = provider === "webgpu" ? webgpuEnvironment() : {};
    if (environment === undefined) throw new Error("WebGPU cannot be probed: no Vulkan driver");
    const child = spawn(
      process.execPath,
      ["--conditions=@loomweight/source", "--import", "tsx", probe, provider, rest.join()],
      { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "ignore"] },
    );
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith("{")) continue;
      const { begins, op, domain, dtype, tried, passed, ended: last } = JSON.parse(line);
      if (begins !== undefined) begun = begins;
      if (last) ended = true;
      if (op === undefined || passed === 0) continue;
      const key = keyOf(op, domain);
      found.set(key, [...(found.get(key) ?? []), passed === tried ? dtype : `${dtype}~`]);
    }
    if (ended || begun < 0) return found;
    console.log(`${provider}: ${ops[begun].op} ended the process`);
    rest = rest.slice(rest.indexOf(begun) + 1);
  }
  return found;
}

const missing = process.argv.includes("--missing");
const wanted = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const providers = ["cpu", "wasm", "webgpu"];
const { capabilities: previous } = await import("../../src/capabilities/generated.ts");

const all = probedOps();
const indices = all.flatMap(({ op, domain }, index) =>
  missing && previous[domain]?.[op] !== undefined ? [] : [index],
);
const results = new Map<string, Found>();
for (const provider of providers) {
  if (wanted.length > 0 && !wanted.includes(provider)) continue;
  results.set(provider, await probeAll(provider, indices));
}
const table: Record<string, Record<string, Record<string, string>>> = {};
for (const [index, { op, domain }] of all.entries()) {
  table[domain] ??= {};
  table[domain][op] = Object.fromEntries(
    providers.map((provider) => {
      const found = results.get(provider);
      const kept = previous[domain]?.[op]?.[provider as "cpu"] ?? "";
      return [
        provider,
        found === undefined || !indices.includes(index) ? kept : (found.get(keyOf(op, domain)) ?? []).join(" "),
      ];
    }),
  );
}
const version = JSON.parse(
  readFileSync(new URL("../../node_modules/onnxruntime-node/package.json", import.meta.url), "utf8"),
).version;
writeFileSync(
  output,
  `// Written by scripts/capabilities/run.ts: onnxruntime ${version}; WebGPU on Chromium's software driver, without fallback to the CPU.
import type { CapabilityTable } from "./capabilities.ts";

export const capabilities: CapabilityTable = ${JSON.stringify(table, null, 2)};
`,
);
execFileSync("npx", ["biome", "check", "--write", fileURLToPath(output)], { stdio: "ignore" });
console.log(`${Object.values(table).reduce((sum, ops) => sum + Object.keys(ops).length, 0)} ops`);
