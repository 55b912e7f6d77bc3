import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromiumPath, openBrowser, serveFolder } from "@loomweight/browser";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildPage } from "../scripts/build-page.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-digits-"));
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

test("a tab trains a classifier of digits, shows its loss and reads a drawing", {
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
  await page.goto(server.url);
  await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("#start")?.disabled, undefined, {
    timeout: 120_000,
  });
  await page.fill("#epochs", "1");
  await page.click("#start");
  await page.waitForSelector("#status[data-accuracy], #status.bad", { timeout: 240_000 });
  expect(await page.textContent("#status")).toMatch(/^Done/);
  const accuracy = Number(await page.getAttribute("#status", "data-accuracy"));
  expect(accuracy).toBeGreaterThan(0.88);
  // 125 steps: the loss has as many points, the accuracy one for every 25.
  const points = await page.$$eval("#chart path", (paths) =>
    paths.map((p) => p.getAttribute("d")?.match(/[ML]/g)?.length),
  );
  expect(points).toEqual([125, 125, 5]);

  // A vertical stroke is a one.
  const box = await page.locator("#pad").boundingBox();
  if (box === null) throw new Error("there is no pad");
  await page.mouse.move(box.x + 0.5 * box.width, box.y + 0.2 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.5 * box.width, box.y + 0.8 * box.height, { steps: 12 });
  await page.mouse.up();
  await page.waitForSelector("#bars .best");
  expect(await page.textContent("#bars .best")).toBe("1");

  if (pictures !== undefined) {
    await page.screenshot({ path: join(pictures, "digits-light.png"), fullPage: true });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 390, height: 844 });
    await page.waitForTimeout(300);
    await page.screenshot({ path: join(pictures, "digits-dark-narrow.png"), fullPage: true });
  }

  // A second training can be stopped.
  await page.fill("#epochs", "50");
  await page.click("#start");
  await page.waitForFunction(() => document.querySelectorAll("#chart path").length > 0);
  await page.click("#stop");
  await page.waitForFunction(() => document.querySelector("#status")?.textContent?.startsWith("Stopped"), undefined, {
    timeout: 60_000,
  });
  expect(faults).toEqual([]);
  await page.close();
});
