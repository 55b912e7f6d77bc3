import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromiumPath, openBrowser, type Page, serveFolder } from "@loomweight/browser";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exportFolder } from "../src/node/index.ts";
import {
  adapterFiles,
  exportedGraph,
  foldedFolder,
  llamaFiles,
  logitsOf,
  relativeDifference,
  smallAdapter,
  smallLlama,
  withGraph,
} from "./slots-small.ts";

// Adapters in transformers.js' own build for browsers: `from_pretrained`, `addAdapters`, PEFT folders by fetch.

let folder = "";
let browser: Awaited<ReturnType<typeof openBrowser>> | undefined;
let server: Awaited<ReturnType<typeof serveFolder>> | undefined;
let page: Page | undefined;
let webgpu = false;
const cases = { four: { rank: 4 }, eight: { rank: 8 }, dora: { rank: 2, dora: true } };
/** Large enough for a leak of one choice's factors, 0.3 and 0.6 MB, to be seen among a page's memory. */
const large = { wide: { rank: 256 }, wider: { rank: 512 } };
/** Of the base and of each adapter folded into it, as exports without slots give them. */
const folded: Record<string, Float32Array> = {};

beforeAll(async () => {
  if (chromiumPath === undefined) return;
  folder = await mkdtemp(join(tmpdir(), "loomweight-adapter-transformers-"));
  await build({
    entryPoints: [fileURLToPath(new URL("page/adapter-transformers-page.ts", import.meta.url))],
    outfile: join(folder, "page.js"),
    bundle: true,
    format: "esm",
    platform: "browser",
    conditions: ["@loomweight/source", "onnxruntime-web-use-extern-wasm"],
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
  const writeAll = async (name: string, files: ReadonlyMap<string, Uint8Array>) => {
    await mkdir(join(folder, name), { recursive: true });
    for (const [file, content] of files) await writeFile(join(folder, name, file), content);
  };
  await writeAll("base", llamaFiles());
  const base = await smallLlama();
  for (const [name, options] of [["", undefined], ...Object.entries({ ...cases, ...large })] as const) {
    const adapters = options === undefined ? [] : [await smallAdapter(name, options)];
    if (options !== undefined) await writeAll(name, adapterFiles(name, options));
    const { bytes } = await exportedGraph(foldedFolder(base, adapters), { dtypes: ["fp32"] });
    folded[name] = await withGraph(bytes, logitsOf);
  }
  const options = { dtypes: ["fp32"], adapterSlots: true, verify: false } as const;
  await exportFolder(join(folder, "base"), join(folder, "models/wasm"), options);
  await exportFolder(join(folder, "base"), join(folder, "models/webgpu"), { ...options, devices: ["webgpu"] });
  server = await serveFolder(folder);
  browser = await openBrowser({ webgpu: true });
  page = await browser.context.newPage();
  await page.goto(server.url);
  await page.waitForFunction(() => document.title === "ready", undefined, { timeout: 60_000 });
  webgpu = await inPage("hasWebgpu", undefined);
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
  if (folder !== "") await rm(folder, { recursive: true, force: true });
});

async function inPage<R>(name: string, argument: unknown): Promise<R> {
  if (page === undefined) throw new Error("the page was not opened");
  const result = await page.evaluate(
    ([called, given]) => (globalThis as unknown as Record<string, (value: unknown) => unknown>)[called](given),
    [name, argument] as const,
  );
  return result as R;
}

for (const [device, tolerance] of [
  ["wasm", 1e-5],
  ["webgpu", 1e-4], // sine and cosine of a software driver have four digits
] as const) {
  const alone = device === "webgpu" ? ", nothing on the CPU" : "";
  test(`transformers.js in a page, ${device}${alone}: adapters give what folding them gives`, {
    timeout: 240_000,
  }, async (context) => {
    if (chromiumPath === undefined) context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
    if (device === "webgpu" && !webgpu) context.skip("this Chromium has no WebGPU here");
    await inPage("open", { model: device, device, names: Object.keys(cases) });
    const order = ["", "four", "eight", "dora", "four", ""];
    const made = await inPage<number[][]>("logits", order);
    for (const [i, name] of order.entries()) {
      const what = name === "" ? "the base model" : name;
      expect(relativeDifference(made[i], folded[name]), what).toBeLessThanOrEqual(tolerance);
      if (name !== "") expect(relativeDifference(made[i], folded[""]), what).toBeGreaterThan(0.2);
    }
  });
}

test("transformers.js in a page: two adapters take 1,000 turns in the same memory", {
  timeout: 300_000,
}, async (context) => {
  if (chromiumPath === undefined) context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
  const names = Object.keys(large);
  await inPage("open", { model: "wasm", device: "wasm", names });
  for (const [i, made] of (await inPage<number[][]>("logits", names)).entries()) {
    expect(relativeDifference(made, folded[names[i]]), names[i]).toBeLessThanOrEqual(1e-5);
  }
  const half = async () => {
    const { made, wasm } = await inPage<{ made: string[][]; wasm: number }>("alternate", { names, count: 500 });
    await (page as Page).requestGC();
    const tools = await (page as Page).context().newCDPSession(page as Page);
    const { usedSize, backingStorageSize } = (await tools.send("Runtime.getHeapUsage")) as Record<string, number>;
    await tools.detach();
    return { made, wasm, objects: usedSize + (backingStorageSize ?? 0) };
  };
  const [first, second] = [await half(), await half()];
  expect(first.made.map((each) => each.length)).toEqual([1, 1]); // each gave the same every time
  expect(second.made).toEqual(first.made);
  expect(first.wasm).toBeGreaterThan(1e6);
  expect(second.wasm).toBe(first.wasm);
  // a leak of the factors would be 225 MB
  expect(second.objects - first.objects).toBeLessThan(5e6);
});

test("transformers.js in a page, webgpu: a session that leaves index arithmetic to the CPU is refused there", {
  timeout: 120_000,
}, async (context) => {
  if (chromiumPath === undefined) context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
  if (!webgpu) context.skip("this Chromium has no WebGPU here");
  const opening = inPage("open", { model: "wasm", device: "webgpu", names: [] });
  await expect(opening).rejects.toThrow(/fallback to CPU EP|assigned to the default CPU EP/i);
});
