// Compiles assembly/ to src/generated/kernels.wasm.ts. Does nothing when that file was made from the same sources.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const assembly = join(root, "assembly");
const target = join(root, "src", "generated", "kernels.wasm.ts");
const options = [
  ...["--runtime", "stub", "--importMemory", "--noAssert", "--use", "abort="],
  ...["--enable", "simd", "--disable", "bulk-memory"],
  ...["--optimizeLevel", "3", "--shrinkLevel", "0", "--converge"],
];

const hash = createHash("sha256").update(JSON.stringify(options));
for (const name of readdirSync(assembly).sort()) {
  if (name.endsWith(".ts")) hash.update(name).update(readFileSync(join(assembly, name)));
}
const stamp = `// Compiled from assembly/ (sha256 ${hash.digest("hex")}). Do not edit.`;

if (!existingText().startsWith(stamp)) {
  mkdirSync(dirname(target), { recursive: true });
  const folder = mkdtempSync(join(dirname(target), ".build-"));
  try {
    const wasm = join(folder, "kernels.wasm");
    const { error, stderr } = await asc.main([join(assembly, "index.ts"), "--outFile", wasm, ...options]);
    if (error) throw new Error(`AssemblyScript: ${error.message}\n${stderr.toString()}`);
    const text = readFileSync(wasm).toString("base64");
    const staged = join(folder, "kernels.wasm.ts");
    writeFileSync(
      staged,
      `${stamp}\n/** The WebAssembly module of the kernels, base64. */\nexport const wasmBase64: string =\n  "${text}";\n`,
    );
    renameSync(staged, target);
    console.log(`kernels.wasm: ${readFileSync(wasm).length} bytes`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function existingText() {
  try {
    return readFileSync(target, "utf8");
  } catch {
    return "";
  }
}
