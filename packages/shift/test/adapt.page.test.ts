import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { chromiumPath, openBrowser, serveFolder } from "@loomweight/browser";
import { createRuntime } from "@loomweight/graph/node";
import { build } from "esbuild";
import { afterAll, expect, test } from "vitest";
import { adaptedStream } from "./adapted-stream.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

test("a page with onnxruntime-web adapts as Node does", { timeout: 120_000 }, async (context) => {
  if (chromiumPath === undefined) return context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
  const folder = await mkdtemp(join(tmpdir(), "loomweight-shift-page-"));
  folders.push(folder);
  await build({
    entryPoints: [here("page/adapt-page.ts")],
    outdir: folder,
    bundle: true,
    splitting: true, // builds of onnxruntime-web that are not used stay unread
    format: "esm",
    platform: "browser",
    conditions: ["@loomweight/source", "onnxruntime-web-use-extern-wasm"],
    logLevel: "warning",
  });
  const html = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="adapt-page.js"></script>';
  await writeFile(join(folder, "index.html"), html);
  const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
  for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
    await cp(join(runtime, name), join(folder, "ort", name));
  }
  const [server, browser] = [await serveFolder(folder), await openBrowser()];
  const page = await browser.context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(server.url);
  await page.waitForFunction(() => document.title === "ready", undefined, { timeout: 60_000 });
  const found = await page.evaluate(() =>
    (globalThis as unknown as { adapted(): Promise<Record<string, number[]>> }).adapted(),
  );
  await browser.close();
  await server.close();
  expect(faults).toEqual([]);
  const node = await createRuntime({ threads: 1 });
  const expected = await adaptedStream(node);
  await node.close();
  expect(Object.keys(found)).toEqual(["bn-adapt", "tent", "cotta"]);
  for (const [name, numbers] of Object.entries(expected)) {
    for (const [i, value] of numbers.entries()) {
      // Adam divides small gradients by their own size, so rounding shows more than elsewhere.
      expect(Math.abs(found[name][i] - value), `${name}[${i}]`).toBeLessThan(1e-3);
    }
  }
});

test.each([
  ["lame", 45],
  // Any operator may stand in the file, so all of their rules and gradients come along.
  ["openGraphClassifier, tent", 120],
])("a bundle of adapt and %s stays under %d kB, without onnxruntime", async (names, most) => {
  const folder = await mkdtemp(join(tmpdir(), "loomweight-shift-size-"));
  folders.push(folder);
  const entry = join(folder, "entry.ts");
  await writeFile(entry, `export { adapt, ${names} } from ${JSON.stringify(here("../src/index.ts"))};`);
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "browser",
    conditions: ["@loomweight/source"],
    logLevel: "warning",
  });
  expect(gzipSync(outputFiles[0].contents).length / 1000).toBeLessThan(most);
});
