import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pageStyle } from "@loomweight/browser";
import { build } from "esbuild";

const app = fileURLToPath(new URL("..", import.meta.url));
const fixtures = fileURLToPath(new URL("../../../fixtures/models", import.meta.url));

/** Models that come with the page, from the repository's fixtures. */
const bundled = [
  { name: "scribe-base", family: "scribe", about: "A small text model, trained on plays and names" },
  { name: "scribe-plays", family: "scribe", about: "scribe-base, fine-tuned on plays" },
  { name: "scribe-lora-names", family: "scribe", about: "A LoRA adapter of scribe-base, trained on names" },
  { name: "scribe-verse", family: "scribe", about: "scribe-base, fine-tuned on verse" },
  { name: "glyph-base", family: "glyph", about: "A small image classifier of digits" },
  { name: "glyph-rotated", family: "glyph", about: "glyph-base, fine-tuned on rotated digits" },
  { name: "glyph-noisy", family: "glyph", about: "glyph-base, fine-tuned on noisy digits" },
];

/** Builds the static page into `out`: three bundles, a document, a style sheet, the models. Needs no built packages. */
export async function buildPage(out: string = join(app, "dist")): Promise<string> {
  await rm(out, { recursive: true, force: true });
  await build({
    entryPoints: ["main", "merge-worker", "store-worker"].map((name) => join(app, `src/${name}.ts`)),
    outdir: out,
    bundle: true,
    format: "esm",
    platform: "browser",
    target: ["chrome111", "firefox111", "safari16.4"],
    conditions: ["@loomweight/source"],
    minify: true,
    legalComments: "none",
    logLevel: "warning",
  });
  for (const name of ["index.html", "style.css"]) await cp(join(app, "src", name), join(out, name));
  await cp(pageStyle, join(out, "page.css"));
  const models = [];
  for (const { name, family, about } of bundled) {
    const files = (await readdir(join(fixtures, family, name))).sort();
    await mkdir(join(out, "models"), { recursive: true });
    await cp(join(fixtures, family, name), join(out, "models", name), { recursive: true });
    models.push({ name, about, files });
  }
  await writeFile(join(out, "models.json"), JSON.stringify(models));
  return out;
}
