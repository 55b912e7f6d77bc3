import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromiumPath, openBrowser, type Page, serveFolder } from "@loomweight/browser";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { caseName, isPresent, pipelineCases, prepareCase, type Recorded } from "./pipelines/cases.ts";

// The same pipelines as in Node, in a page: transformers.js' build for browsers, files by fetch, WebAssembly and WebGPU.

let folder = "";
let browser: Awaited<ReturnType<typeof openBrowser>> | undefined;
let server: Awaited<ReturnType<typeof serveFolder>> | undefined;
let page: Page | undefined;
let webgpu = false;
const recordings = new Map<string, Recorded>();

beforeAll(async () => {
  if (chromiumPath === undefined) return;
  folder = await mkdtemp(join(tmpdir(), "loomweight-pipelines-page-"));
  await build({
    entryPoints: [fileURLToPath(new URL("page/pipelines-page.ts", import.meta.url))],
    outfile: join(folder, "page.js"),
    bundle: true,
    format: "esm",
    platform: "browser",
    conditions: ["onnxruntime-web-use-extern-wasm"],
    logLevel: "error",
  });
  const html = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>';
  await writeFile(join(folder, "index.html"), html);
  const library = createRequire(import.meta.url).resolve("@huggingface/transformers");
  const runtime = dirname(createRequire(library).resolve("onnxruntime-web"));
  for (const kind of ["", ".asyncify"]) {
    for (const ending of ["mjs", "wasm"]) {
      const name = `ort-wasm-simd-threaded${kind}.${ending}`;
      await cp(join(runtime, name), join(folder, "ort", name));
    }
  }
  for (const each of pipelineCases.filter(isPresent)) {
    recordings.set(caseName(each), await prepareCase(each, join(folder, "models"), ["fp32"]));
  }
  server = await serveFolder(folder);
  browser = await openBrowser({ webgpu: true });
  page = await browser.context.newPage();
  page.on("pageerror", (error) => console.error(String(error)));
  await page.goto(server.url);
  await page.waitForFunction(() => document.title === "ready", undefined, { timeout: 60_000 });
  webgpu = await page.evaluate(() => (globalThis as unknown as { hasWebgpu(): Promise<boolean> }).hasWebgpu());
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
  if (folder !== "") await rm(folder, { recursive: true, force: true });
});

/** A software driver needs seconds for each shader: of two models for a task one. */
const onlyOnWasm = new Set([
  "text-generation-qwen2",
  "feature-extraction-mpnet",
  "zero-shot-image-classification-siglip",
]);

for (const device of ["wasm", "webgpu"]) {
  for (const each of pipelineCases) {
    if (device === "webgpu" && onlyOnWasm.has(caseName(each))) continue;
    const what = `transformers.js in a page, ${device}: ${each.task} over ${each.folder} gives what is recorded`;
    test(what, { timeout: 120_000 }, async (context) => {
      if (chromiumPath === undefined) context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
      if (!isPresent(each)) context.skip("this folder is not among the fixtures at hand");
      if (device === "webgpu" && !webgpu) context.skip("this Chromium has no WebGPU here");
      const recorded = recordings.get(caseName(each)) as Recorded;
      const request = { ...each.request(recorded), task: each.task, model: caseName(each) };
      const made = await (page as Page).evaluate(
        ([given, load]) =>
          (globalThis as unknown as { runRequest(a: unknown, b: unknown): Promise<unknown> }).runRequest(given, load),
        [request, { dtype: "fp32", device }] as const,
      );
      each.check(made, recorded, 1e-4);
    });
  }
}

test("the page can be asked for something", (context) => {
  if (chromiumPath === undefined) context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
  expect(recordings.size).toBeGreaterThan(0);
});
