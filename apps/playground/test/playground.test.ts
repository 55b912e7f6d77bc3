import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromiumPath, openBrowser, type Page, serveFolder } from "@loomweight/browser";
import { writeSafetensors } from "@loomweight/checkpoint";
import { mergeModel } from "@loomweight/merge/node";
import { fromData, type Tensor, tensor } from "@loomweight/tensor";

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { buildPage } from "../scripts/build-page.ts";

const fixtures = fileURLToPath(new URL("../../../fixtures/models", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "loomweight-playground-"));
const pictures = process.env.PLAYGROUND_PICTURES;

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

beforeEach((context) => {
  if (chromiumPath === undefined) context.skip("no Chromium on this machine (CHROMIUM_PATH names one)");
});

async function withPage(work: (page: Page) => Promise<void>): Promise<void> {
  if (browser === undefined || server === undefined) throw new Error("the browser was not started");
  const page = await browser.context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(message.text());
  });
  try {
    await page.goto(server.url);
    await work(page);
    expect(faults).toEqual([]);
  } finally {
    await page.close();
  }
}

async function picture(page: Page, name: string): Promise<void> {
  if (pictures !== undefined) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

async function addBundled(page: Page, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    await page.locator("#bundled button", { hasText: name }).click();
    await page.locator("#shelf li", { hasText: name }).waitFor();
  }
}

async function writeRecipe(page: Page, recipe: string): Promise<void> {
  await page.locator("#recipe").fill(recipe);
}

/** Saves what a link gives and reads it. */
async function download(page: Page, selector: string): Promise<Buffer> {
  const [saved] = await Promise.all([page.waitForEvent("download"), page.locator(selector).first().click()]);
  return readFileSync(await saved.path());
}

const merged = { timeout: 90_000 };

test("merges two bundled models in Web Workers; every downloaded byte is that of Node's merge", async () => {
  const recipe = `merge_method: ties
base_model: scribe-base
models:
  - model: scribe-plays
    parameters: { weight: 0.6, density: [0.5, 0.8] }
  - model: scribe-verse
    parameters: { weight: 0.4, density: 0.7 }
dtype: bfloat16
`;
  writeFileSync(join(folder, "recipe.yml"), recipe);
  const out = join(folder, "merged-by-node");
  await mergeModel(join(folder, "recipe.yml"), out, { folder: join(fixtures, "scribe") });

  await withPage(async (page) => {
    await picture(page, "1-empty");
    await addBundled(page, "scribe-base", "scribe-plays", "scribe-verse");
    await writeRecipe(page, recipe);
    await page.locator("#plan.good").waitFor();
    await picture(page, "2-ready");
    await page.locator("#merge").click();
    await page.locator("#result").waitFor(merged);
    await picture(page, "3-merged");
    // At least two: the work was divided among workers.
    expect(await page.locator("#state").textContent()).toMatch(/^Done: .* by [2-4] workers$/);
    const names = await page.locator("#files a").allTextContents();
    expect([...names].sort()).toEqual(readdirSync(out).sort());
    for (const name of names) {
      const bytes = await download(page, `#files a:text-is("${name}")`);
      expect(bytes.equals(readFileSync(join(out, name))), name).toBe(true);
    }
    const stored = await page.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const found = [];
      for await (const name of (root as unknown as { keys(): AsyncIterable<string> }).keys()) found.push(name);
      return found;
    });
    expect(stored).toEqual([expect.stringMatching(/^loomweight-/)]);

    writeFileSync(join(folder, "merged.tar"), await download(page, "#archive"));
    const { status } = spawnSync("tar", ["-xf", "merged.tar"], { cwd: folder });
    expect(status).toBe(0);
    for (const name of names) {
      expect(readFileSync(join(folder, "merged", name)).equals(readFileSync(join(out, name))), name).toBe(true);
    }
  });
}, 240_000);

test("a folder of one's own is chosen, described and merged; a beginning recipe is written for it", async () => {
  await withPage(async (page) => {
    for (const name of ["glyph-rotated", "glyph-noisy"]) {
      await page.locator("#pick").setInputFiles(join(fixtures, "glyph", name));
      await page.locator("#shelf li", { hasText: name }).waitFor();
    }
    expect(await page.locator("#shelf li").first().textContent()).toMatch(/glyph-rotated.*tensors.*float32/);
    expect(await page.locator("#recipe").inputValue()).toContain("merge_method: linear");
    await page.locator("#plan.good").waitFor();
    await page.locator("#merge").click();
    await page.locator("#result").waitFor(merged);
    const recipe = await page.locator("#recipe").inputValue();
    writeFileSync(join(folder, "glyph.yml"), recipe);
    const out = join(folder, "glyph-by-node");
    await mergeModel(join(folder, "glyph.yml"), out, { folder: join(fixtures, "glyph") });
    const bytes = await download(page, '#files a:text-is("model.safetensors")');
    expect(bytes.equals(readFileSync(join(out, "model.safetensors")))).toBe(true);
  });
}, 240_000);

test("every method offered begins with a recipe that can be merged", async () => {
  await withPage(async (page) => {
    await addBundled(page, "scribe-base", "scribe-plays", "scribe-verse");
    const methods = await page
      .locator("#method option")
      .evaluateAll((options) => options.map((option) => (option as unknown as { value: string }).value));
    expect(methods.length).toBeGreaterThan(15);
    for (const method of methods) {
      await page.locator("#method").selectOption(method);
      const planned = page.locator("#plan.good", { hasText: new RegExp(`^${method.replaceAll("-", " ")} of`) });
      await planned.or(page.locator("#plan.bad")).waitFor();
      expect([method, await page.locator("#plan").getAttribute("class")]).toEqual([method, "plan good"]);
    }
  });
}, 240_000);

test("a mistake in the recipe is shown with its line, and merging waits until it is mended", async () => {
  await withPage(async (page) => {
    await addBundled(page, "scribe-base", "scribe-plays");
    await writeRecipe(
      page,
      "merge_method: linear\nmodels:\n  - model: scribe-base\n    parameters: { wieght: 1 }\n  - model: scribe-plays\n",
    );
    await page.locator("#plan.bad").waitFor();
    expect(await page.locator("#plan").textContent()).toMatch(/recipe:4:\d+.*wieght.*weight/);
    expect(await page.locator("#merge").isDisabled()).toBe(true);
    await picture(page, "4-mistake");
    await page.locator("#plan button").click();
    const selected = await page.locator("#recipe").evaluate((field) => {
      const { value, selectionStart, selectionEnd } = field as unknown as {
        value: string;
        selectionStart: number;
        selectionEnd: number;
      };
      return value.slice(selectionStart, selectionEnd);
    });
    expect(selected).toBe("wieght: 1 }");
    await writeRecipe(page, "merge_method: linear\nmodels:\n  - model: scribe-bass\n    parameters: { weight: 1 }\n");
    await page.locator("#plan.bad", { hasText: "scribe-bass" }).waitFor();
    expect(await page.locator("#plan").textContent()).toContain("scribe-base");
  });
}, 120_000);

test("files that are no model, and weights that are damaged, are refused by name", async () => {
  await withPage(async (page) => {
    await page.locator("#pick").setInputFiles(fileURLToPath(new URL(".", import.meta.url)));
    await page.locator("#models-problem").waitFor();
    expect(await page.locator("#models-problem").textContent()).toContain("no weights");
    const damaged = mkdtempSync(join(folder, "damaged-"));
    writeFileSync(join(damaged, "model.safetensors"), "not a model");
    await page.locator("#pick").setInputFiles(damaged);
    await page.locator("#models-problem", { hasText: "damaged-" }).waitFor();
    expect(await page.locator("#models-problem").textContent()).toContain("model.safetensors");
    expect(await page.locator("#shelf li").count()).toBe(0);
    await picture(page, "5-damaged");
  });
}, 120_000);

test("weights that are not finite stop the merge with the tensor's name, and nothing is offered", async () => {
  const broken = mkdtempSync(join(folder, "broken-"));
  for (const [name, value] of [
    ["one", 1],
    ["two", Number.NaN],
  ] as const) {
    mkdirSync(join(broken, name));
    writeFileSync(join(broken, name, "config.json"), JSON.stringify({ architectures: ["Some"] }));
    const tensors = new Map([["some.weight", tensor([1, value])]]);
    writeFileSync(join(broken, name, "model.safetensors"), writeSafetensors(tensors));
  }
  await withPage(async (page) => {
    for (const name of ["one", "two"]) {
      await page.locator("#pick").setInputFiles(join(broken, name));
      await page.locator("#shelf li", { hasText: name }).waitFor();
    }
    await page.locator("#plan.good").waitFor();
    await page.locator("#merge").click();
    await page.locator("#merge-problem").waitFor(merged);
    expect(await page.locator("#merge-problem").textContent()).toMatch(/some\.weight.*not finite/);
    expect(await page.locator("#result").isVisible()).toBe(false);
    // Another try is possible: with the sound model alone.
    await page.locator("#shelf li", { hasText: "two" }).locator("button").click();
    await writeRecipe(page, "merge_method: passthrough\nmodels: [{ model: one }]\n");
    await page.locator("#plan.good").waitFor();
    await page.locator("#merge").click();
    await page.locator("#result").waitFor(merged);
    expect(await page.locator("#merge-problem").isVisible()).toBe(false);
  });
}, 120_000);

/** Drops files and folders of this machine onto the page, as a person does. */
async function drop(page: Page, ...paths: readonly string[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [...paths], dragOperationsMask: 1 };
  const box = await page.locator("#drop").boundingBox();
  const at = { x: (box?.x ?? 0) + 20, y: (box?.y ?? 0) + 20, data };
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    if (type === "drop") expect(await page.locator("#drop").getAttribute("class")).toContain("over");
    await session.send("Input.dispatchDragEvent", { type, ...at });
  }
  await session.detach();
}

test("model and adapter folders are dropped; model+adapter and the seed give the bytes of Node's merge", async () => {
  await withPage(async (page) => {
    await drop(page, join(fixtures, "scribe", "scribe-base"), join(fixtures, "scribe", "scribe-lora-names"));
    await page.locator("#shelf li", { hasText: "scribe-base" }).waitFor();
    const adapter = page.locator("#shelf li", { hasText: "scribe-lora-names" });
    await adapter.waitFor();
    expect(await adapter.textContent()).toMatch(/adapter:\slora\sfor\s28\slayers/);
    expect(await page.locator("#drop").getAttribute("class")).not.toContain("over");
    // Single files, dropped without their folder, are a model too.
    const plays = join(fixtures, "scribe", "scribe-plays");
    await drop(page, ...["config.json", "model.safetensors"].map((name) => join(plays, name)));
    await page.locator("#shelf li", { hasText: /^model/ }).waitFor();
    // The recipe that the page begins with has the adapter in it.
    expect(await page.locator("#recipe").inputValue()).toContain("scribe-base+scribe-lora-names");
    await page.locator("#plan.good").waitFor();

    const recipe = (members: readonly string[]) => `merge_method: dare_ties
base_model: scribe-base
models:
  - model: ${members[0]}
    parameters: { weight: 0.7, density: 0.5 }
  - model: ${members[1]}
    parameters: { weight: 0.5, density: 0.6 }
`;
    await writeRecipe(page, recipe(["scribe-base+scribe-lora-names", "model"]));
    await page.locator("#plan.good").waitFor();
    const weightsWith = async (seed: string): Promise<Buffer> => {
      await page.locator("#seed").fill(seed);
      await page.locator("#merge:enabled").click();
      await page.locator("#state", { hasText: /^Done/ }).waitFor(merged);
      const bytes = await download(page, '#files a:text-is("model.safetensors")');
      await page.locator("#state").evaluate((state) => {
        state.textContent = "";
      });
      return bytes;
    };
    const byNode = async (seed: number): Promise<Buffer> => {
      const file = join(folder, `adapter-${seed}.yml`);
      writeFileSync(file, recipe(["scribe-base+scribe-lora-names", "scribe-plays"]));
      await mergeModel(file, join(folder, `adapter-${seed}`), { folder: join(fixtures, "scribe"), seed });
      return readFileSync(join(folder, `adapter-${seed}`, "model.safetensors"));
    };
    const [first, second] = [await weightsWith("7"), await weightsWith("8")];
    expect(first.equals(await byNode(7))).toBe(true);
    expect(second.equals(await byNode(8))).toBe(true);
    expect(first.equals(second)).toBe(false);

    await page.locator("#seed").fill("-1");
    await page.locator("#plan.bad", { hasText: "seed" }).waitFor();
    expect(await page.locator("#merge").isDisabled()).toBe(true);
    await page.locator("#seed").fill("0");
    await writeRecipe(page, "merge_method: passthrough\nmodels: [{ model: scribe-lora-names }]\n");
    await page.locator("#plan.bad", { hasText: "is an adapter, not a model" }).waitFor();
  });
}, 240_000);

/** A model of 48 MB, so that a merge takes long enough to be stopped. */
function writeLarge(name: string): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  const tensors = new Map<string, Tensor>();
  for (let layer = 0; layer < 12; layer++) {
    const numbers = Float32Array.from({ length: 2 ** 20 }, (_, i) => Math.sin(i + layer));
    tensors.set(`layers.${layer}.weight`, fromData("float32", numbers, [1024, 1024]));
  }
  writeFileSync(join(path, "config.json"), JSON.stringify({ architectures: ["Large"], num_hidden_layers: 12 }));
  writeFileSync(join(path, "model.safetensors"), writeSafetensors(tensors));
  return path;
}

/**
 * Clicks a button that merges, and gives what the page says until it has ended. When it says `cancelAt`, the merge is
 * cancelled.
 */
function saidWhileMerging(page: Page, button: string, cancelAt?: string): Promise<string[]> {
  return page.evaluate(
    ([id, sign]) => {
      const { document, MutationObserver } = globalThis as unknown as {
        readonly document: { getElementById(id: string): { textContent: string; click(): void } };
        readonly MutationObserver: new (
          changed: () => void,
        ) => { observe(target: unknown, options: object): void; disconnect(): void };
      };
      const state = document.getElementById("state");
      const said: string[] = [];
      return new Promise<string[]>((resolve) => {
        const observer = new MutationObserver(() => {
          said.push(state.textContent);
          if (sign !== undefined && state.textContent.includes(sign)) document.getElementById("cancel").click();
          if (!/^(Done|Cancelled)/.test(state.textContent)) return;
          observer.disconnect();
          resolve(said);
        });
        observer.observe(state, { childList: true, characterData: true, subtree: true });
        document.getElementById(id as string).click();
      });
    },
    [button, cancelAt],
  );
}

test("a merge says how far it is, stops when it is cancelled, and can be begun again", async () => {
  const paths = ["large-one", "large-two"].map(writeLarge);
  await withPage(async (page) => {
    await drop(page, ...paths);
    await page.locator("#shelf li", { hasText: "large-two" }).waitFor();
    await page.locator("#plan.good").waitFor();
    const cancelled = await saidWhileMerging(page, "merge", " of ");
    expect(cancelled[0]).toBe("Starting");
    expect(cancelled.at(-1)).toBe("Cancelled");
    for (const hidden of ["#result", "#cancel", "#progress", "#merge-problem"]) {
      expect([hidden, await page.locator(hidden).isVisible()]).toEqual([hidden, false]);
    }
    const whole = await saidWhileMerging(page, "merge");
    expect(whole.some((text) => /^[\d.]+ (kB|MB|bytes) of 50\.3 MB · .*\/s/.test(text))).toBe(true);
    expect(whole.at(-1)).toMatch(/^Done: 50\.3 MB in [\d.]+ s by [2-4] workers$/);
    expect(await page.locator("#result").isVisible()).toBe(true);
  });
}, 240_000);

test("a merge is written straight into a folder that the user chose, whole or not at all", async () => {
  await withPage(async (page) => {
    await addBundled(page, "scribe-base", "scribe-verse");
    await page.locator("#plan.good").waitFor();
    expect(await page.locator("#merge-into").isVisible()).toBe(true);
    // The dialogue cannot be driven: a folder of the page's own file system stands for the one that is chosen.
    await page.evaluate(() => {
      Object.assign(globalThis, {
        showDirectoryPicker: async () =>
          (await navigator.storage.getDirectory()).getDirectoryHandle("chosen", { create: true }),
      });
    });
    const contents = () =>
      page.evaluate(async () => {
        const root = await navigator.storage.getDirectory();
        const directory = await root.getDirectoryHandle("chosen");
        const found: Record<string, string> = {};
        type Entries = AsyncIterable<[string, { getFile(): Promise<Blob> }]>;
        for await (const [name, handle] of (directory as unknown as { entries(): Entries }).entries()) {
          const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
          const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
          found[name] = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        }
        return found;
      });
    // Cancelled when files were begun: nothing is left behind.
    expect((await saidWhileMerging(page, "merge-into", " of ")).at(-1)).toBe("Cancelled");
    await page.locator("#merge-into:enabled").waitFor();
    expect(await contents()).toEqual({});
    expect((await saidWhileMerging(page, "merge-into")).at(-1)).toMatch(/^Done: .*, saved in chosen$/);
    const file = join(folder, "into.yml");
    writeFileSync(file, await page.locator("#recipe").inputValue());
    const out = join(folder, "into");
    await mergeModel(file, out, { folder: join(fixtures, "scribe") });
    const expected = readdirSync(out).map((name) => [
      name,
      createHash("sha256")
        .update(readFileSync(join(out, name)))
        .digest("hex"),
    ]);
    expect(await contents()).toEqual(Object.fromEntries(expected));
    // A second merge does not write over the first.
    await page.locator("#merge-into:enabled").click();
    await page.locator("#merge-problem", { hasText: "choose an empty one" }).waitFor(merged);
    expect(await contents()).toEqual(Object.fromEntries(expected));
  });
}, 240_000);

test("the page is legible in light and dark, wide and narrow: nothing reaches beyond its sides", async () => {
  await withPage(async (page) => {
    await addBundled(page, "scribe-base", "scribe-plays", "scribe-lora-names");
    await page.locator("#merge:enabled").click();
    await page.locator("#result").waitFor(merged);
    for (const width of [1280, 800, 360]) {
      for (const colorScheme of ["light", "dark"] as const) {
        await page.setViewportSize({ width, height: 900 });
        await page.emulateMedia({ colorScheme });
        const widths = await page.locator("body").evaluate((body) => {
          const { scrollWidth, clientWidth } = (
            body as unknown as { ownerDocument: { documentElement: { scrollWidth: number; clientWidth: number } } }
          ).ownerDocument.documentElement;
          return [scrollWidth, clientWidth];
        });
        expect(widths[0]).toBe(widths[1]);
        await picture(page, `look-${width}-${colorScheme}`);
      }
    }
  });
}, 120_000);
