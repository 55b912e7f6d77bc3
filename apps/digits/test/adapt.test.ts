import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { foldAdapters, openAdapter } from "@loomweight/adapters";
import { chromiumPath, openBrowser, type Page, serveFolder } from "@loomweight/browser";
import { bytesSource, fileSetFromMap, openSafetensors } from "@loomweight/checkpoint";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildPage } from "../scripts/build-page.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-adapt-"));
const glyph = fileURLToPath(new URL("../../../fixtures/models/glyph/glyph-base", import.meta.url));
/** A folder to keep screenshots in, to look at. */
const pictures = process.env.DIGITS_PICTURES;

let browser: Awaited<ReturnType<typeof openBrowser>> | undefined;
let server: Awaited<ReturnType<typeof serveFolder>> | undefined;

beforeAll(async () => {
  if (chromiumPath === undefined) return;
  server = await serveFolder(await buildPage(join(folder, "page")));
  browser = await openBrowser();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});

test("a tab adapts a frozen model to turned digits and to drawings, and gives PEFT's files and the folded model", {
  timeout: 300_000,
}, async (context) => {
  if (browser === undefined || server === undefined) {
    return context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
  }
  const page = await browser.context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  await page.goto(`${server.url}adapt.html`);
  await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#start")?.disabled, undefined, {
    timeout: 120_000,
  });
  await page.selectOption("#task", "digits turned by 90°");
  await page.fill("#rank", "4");
  await page.fill("#examples", "512");
  await page.fill("#epochs", "3");
  // by keyboard alone
  await page.focus("#start");
  await page.keyboard.press("Enter");
  await finished(page);
  expect(await page.textContent("#status")).toMatch(/^Done/);
  const [before, after] = [await share(page, "#before-task"), await share(page, "#after-task")];
  expect(await share(page, "#before-upright")).toBeGreaterThan(0.9);
  expect(before).toBeLessThan(0.5);
  expect(after).toBeGreaterThan(before + 0.25);

  const files = new Map<string, Uint8Array>();
  for (const name of ["adapter_config.json", "adapter_model.safetensors", "model.safetensors"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(`#files a[download="${name}"]`)]);
    files.set(name, readFileSync(await download.path()));
  }
  const text = new TextDecoder().decode(files.get("adapter_config.json"));
  expect(JSON.parse(text)).toMatchObject({
    peft_type: "LORA",
    r: 4,
    lora_alpha: 8,
    base_model_name_or_path: "glyph-base",
  });
  // The folded model is what folding the downloaded adapter into the base gives here.
  const base = await openSafetensors(bytesSource(readFileSync(join(glyph, "model.safetensors")), "base"));
  const adapter = await openAdapter(fileSetFromMap(files, "downloads"));
  expect(adapter.modules.size).toBe(24);
  const config = JSON.parse(readFileSync(join(glyph, "config.json"), "utf8"));
  const folded = foldAdapters({ checkpoint: base, config }, [adapter]).checkpoint;
  const given = await openSafetensors(bytesSource(files.get("model.safetensors") as Uint8Array, "folded"));
  expect([...given.tensors.keys()].sort()).toEqual([...base.tensors.keys()].sort());
  let [moved, distance] = [0, 0];
  for (const name of given.tensors.keys()) {
    const [a, b, c] = (await Promise.all([given.read(name), folded.read(name), base.read(name)])).map(
      ({ data }) => data as Float32Array,
    );
    if (a.some((value, i) => value !== c[i])) moved++;
    distance = Math.max(distance, ...a.map((value, i) => Math.abs(value - b[i])));
  }
  expect(moved).toBe(24);
  expect(distance).toBeLessThan(1e-6);

  // The visitor's own sign for a seven: a horizontal stroke.
  await stroke(page);
  await page.waitForSelector("#bars .best");
  await keep(page, pictures, "adapt");
  await page.click("#labels button:nth-child(8)");
  await page.selectOption("#targets", "attention");
  await page.fill("#epochs", "10");
  await page.click("#start");
  await finished(page);
  expect(await page.textContent("#judged")).toContain("My drawings");
  expect(await share(page, "#after-task")).toBe(1);
  await stroke(page);
  await page.waitForSelector("#bars .best");
  expect(await page.textContent("#bars .best")).toBe("7");

  // A long training can be stopped.
  await page.selectOption("#task", "digits mirrored");
  await page.selectOption("#method", "dora");
  await page.fill("#epochs", "100");
  await page.click("#start");
  await page.waitForFunction(() => document.querySelector("#status")?.textContent?.startsWith("Step"), undefined, {
    timeout: 60_000,
  });
  await page.click("#stop");
  await finished(page);
  expect(await page.textContent("#status")).toMatch(/^Stopped/);
  expect(faults).toEqual([]);
  await page.close();
});

async function finished(page: Page): Promise<void> {
  await page.waitForSelector("#status[data-accuracy], #status.bad", { timeout: 120_000 });
}

async function share(page: Page, cell: string): Promise<number> {
  return Number.parseFloat((await page.textContent(cell)) ?? "") / 100;
}

/** A horizontal stroke over the pad. */
async function stroke(page: Page): Promise<void> {
  await page.locator("#pad").scrollIntoViewIfNeeded();
  const box = await page.locator("#pad").boundingBox();
  if (box === null) throw new Error("there is no pad");
  await page.mouse.move(box.x + 0.2 * box.width, box.y + 0.5 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.8 * box.width, box.y + 0.5 * box.height, { steps: 12 });
  await page.mouse.up();
}

/** Screenshots in light and, narrow, in dark. */
async function keep(page: Page, folder: string | undefined, name: string): Promise<void> {
  if (folder === undefined) return;
  await page.screenshot({ path: join(folder, `${name}-light.png`), fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForTimeout(300);
  await page.screenshot({ path: join(folder, `${name}-dark-narrow.png`), fullPage: true });
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1100, height: 900 });
}
