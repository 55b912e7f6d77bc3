import { cp, mkdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { pageStyle } from "@loomweight/browser";
import { build } from "esbuild";

const app = fileURLToPath(new URL("..", import.meta.url));
const digits = fileURLToPath(new URL("../../../fixtures/data", import.meta.url));
const glyph = fileURLToPath(new URL("../../../fixtures/models/glyph/glyph-base", import.meta.url));

/** Builds the static pages into `out`: the bundles, onnxruntime's WebAssembly, the digits and the model that is adapted. Needs no built packages. */
export async function buildPage(out: string = join(app, "dist")): Promise<string> {
  await rm(out, { recursive: true, force: true });
  await build({
    entryPoints: ["main", "train-worker", "adapt", "adapt-worker"].map((name) => join(app, `src/${name}.ts`)),
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
  for (const name of ["index.html", "adapt.html", "style.css"]) await cp(join(app, "src", name), join(out, name));
  await cp(pageStyle, join(out, "page.css"));
  await mkdir(join(out, "digits"));
  for (const name of ["images-idx3", "labels-idx1"]) {
    await cp(join(digits, `mnist-t10k-${name}-ubyte.gz`), join(out, "digits", `${name}.gz`));
  }
  for (const name of ["config.json", "model.safetensors"]) {
    await cp(join(glyph, name), join(out, "glyph", name));
  }
  const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
  // The second build is WebGPU's; a page loads it only when that is asked for.
  for (const name of ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"]) {
    for (const kind of ["mjs", "wasm"]) await cp(join(runtime, `${name}.${kind}`), join(out, "ort", `${name}.${kind}`));
  }
  return out;
}
