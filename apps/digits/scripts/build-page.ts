import { cp, mkdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const app = fileURLToPath(new URL("..", import.meta.url));
const digits = fileURLToPath(new URL("../../../fixtures/data", import.meta.url));

/** Builds the static page into `out`: the bundles, onnxruntime's WebAssembly, the digits. Needs no built packages. */
export async function buildPage(out: string = join(app, "dist")): Promise<string> {
  await rm(out, { recursive: true, force: true });
  await build({
    entryPoints: ["main", "train-worker"].map((name) => join(app, `src/${name}.ts`)),
    outdir: out,
    bundle: true,
    format: "esm",
    platform: "browser",
    target: ["chrome111", "firefox111", "safari16.4"],
    conditions: ["@loomweight/source", "onnxruntime-web-use-extern-wasm"],
    minify: true,
    splitting: true, // builds of onnxruntime-web that are not used stay unread
    legalComments: "none",
    logLevel: "warning",
  });
  for (const name of ["index.html", "style.css"]) await cp(join(app, "src", name), join(out, name));
  await mkdir(join(out, "digits"));
  for (const name of ["images-idx3", "labels-idx1"]) {
    await cp(join(digits, `mnist-t10k-${name}-ubyte.gz`), join(out, "digits", `${name}.gz`));
  }
  const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
  for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
    await cp(join(runtime, name), join(out, "ort", name));
  }
  return out;
}
