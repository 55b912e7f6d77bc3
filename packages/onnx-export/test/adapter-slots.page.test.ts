import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromiumPath, openBrowser, serveFolder } from "@loomweight/browser";
import { build } from "esbuild";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { adapterFile, createAdapterSession, slotValues, writeOnnxAdapter } from "../src/index.ts";
import {
  adapterFiles,
  exportedGraph,
  llamaFiles,
  logitsOf,
  relativeDifference,
  smallAdapter,
  smallLlama,
  withGraph,
} from "./slots-small.ts";

let folder = "";
let browser: Awaited<ReturnType<typeof openBrowser>> | undefined;
let server: Awaited<ReturnType<typeof serveFolder>> | undefined;
let page: Page | undefined;
const faults: string[] = [];

const cases = { four: { rank: 4 }, eight: { rank: 8 }, dora: { rank: 2, dora: true } };

/** What runs in the page: see test/page/adapter-page.ts. */
interface PageFunctions {
  adapters(layout: string): Promise<Record<string, number[]>>;
  swaps(count: number): Promise<{ same: boolean; differ: boolean; memory: number[] }>;
}

async function writeFiles(path: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  await mkdir(path, { recursive: true });
  for (const [name, content] of files) await writeFile(join(path, name), content);
}

beforeAll(async () => {
  if (chromiumPath === undefined) return;
  folder = await mkdtemp(join(tmpdir(), "loomweight-adapter-page-"));
  await build({
    entryPoints: [fileURLToPath(new URL("page/adapter-page.ts", import.meta.url))],
    outfile: join(folder, "page.js"),
    bundle: true,
    format: "esm",
    platform: "browser",
    conditions: ["@loomweight/source", "onnxruntime-web-use-extern-wasm"],
    logLevel: "warning",
  });
  const html = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>';
  await writeFile(join(folder, "index.html"), html);
  const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
  for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
    await cp(join(runtime, name), join(folder, "ort", name));
  }
  const base = await smallLlama();
  await writeFiles(join(folder, "base"), llamaFiles());
  for (const [name, options] of Object.entries({ ...cases, wide: { rank: 256 }, wider: { rank: 512 } })) {
    await writeFiles(join(folder, name), adapterFiles(name, options));
  }
  for (const layout of ["single", "rows"] as const) {
    const { bytes, slots } = await exportedGraph(base, { dtypes: ["fp32"], adapterSlots: { layout } });
    await writeFile(join(folder, `${layout}.onnx`), bytes);
    await writeFile(join(folder, `${layout}.json`), JSON.stringify(slots));
    if (layout === "rows" || slots === undefined) continue;
    const values = await slotValues(slots, await smallAdapter("dora", cases.dora), { base });
    await writeFile(join(folder, "dora.onnx_adapter"), writeOnnxAdapter(adapterFile(slots, values)));
  }
  server = await serveFolder(folder);
  browser = await openBrowser();
  page = await browser.context.newPage();
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  await page.goto(server.url);
  await page.waitForFunction(() => document.title === "ready", undefined, { timeout: 60_000 });
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
  if (folder !== "") await rm(folder, { recursive: true, force: true });
});

beforeEach((context) => {
  if (chromiumPath === undefined) context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
});

async function inPage<R>(name: keyof PageFunctions, argument: string | number): Promise<R> {
  if (page === undefined) throw new Error("the page was not opened");
  const result = await page.evaluate(
    ([called, given]) => (globalThis as unknown as Record<string, (value: unknown) => Promise<unknown>>)[called](given),
    [name, argument] as const,
  );
  expect(faults).toEqual([]);
  return result as R;
}

test("a page with onnxruntime-web gives what Node gives, of PEFT folders and of a file", {
  timeout: 120_000,
}, async () => {
  const made = await inPage<Record<string, number[]>>("adapters", "single");
  expect(Object.keys(made)).toEqual(["none", "four", "eight", "dora", "file"]);
  expect(made.file).toEqual(made.dora);
  const base = await smallLlama();
  const { bytes, slots } = await exportedGraph(base, { dtypes: ["fp32"], adapterSlots: true });
  await withGraph(bytes, async (raw) => {
    const session = createAdapterSession(raw, slots as never);
    expect(relativeDifference(made.none, await logitsOf(session))).toBeLessThanOrEqual(1e-5);
    for (const [name, options] of Object.entries(cases)) {
      await session.load(name, await smallAdapter(name, options), { base });
      session.use(name);
      expect(relativeDifference(made[name], await logitsOf(session)), name).toBeLessThanOrEqual(1e-5);
    }
  });
});

test("rows of one batch have adapters of their own in the page too", { timeout: 120_000 }, async () => {
  const made = await inPage<Record<string, number[]>>("adapters", "rows");
  const size = 6 * 40;
  const row = (values: number[], i: number) => values.slice(i * size, (i + 1) * size);
  // rows 0 and 1 hold the same tokens in a batch of two and of four
  expect(relativeDifference(row(made.together, 0), row(made.dora, 0))).toBeLessThanOrEqual(1e-5);
  expect(relativeDifference(row(made.together, 1), row(made.four, 1))).toBeLessThanOrEqual(1e-5);
  expect(relativeDifference(row(made.together, 2), row(made.none4, 2))).toBeLessThanOrEqual(1e-5);
  expect(relativeDifference(row(made.together, 3), row(made.none4, 3))).toBeGreaterThan(0.01);
});

test("two adapters take turns in the page without using more memory", { timeout: 300_000 }, async () => {
  // the whole of it: LOOMWEIGHT_SWAPS=1000
  const swaps = Number(process.env.LOOMWEIGHT_SWAPS || 200);
  const { same, differ, memory } = await inPage<{ same: boolean; differ: boolean; memory: number[] }>("swaps", swaps);
  expect({ same, differ }).toEqual({ same: true, differ: true });
  expect(memory[0]).toBeGreaterThan(1e6);
  expect(memory[1]).toBe(memory[0]);
});
