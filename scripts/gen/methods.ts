import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { OptionSpecs } from "@loomweight/tensor";
import { root } from "../packages/packages.ts";

/** A method as its file defines it: what tables, lists and indexes are made from. */
export interface MethodEntry {
  /** "task-arithmetic": the file's name. */
  readonly file: string;
  /** "taskArithmetic": the name it is exported under. */
  readonly exported: string;
  readonly name: string;
  readonly source: string;
  readonly summary: string;
  /** Options of the method and of its inputs, with their specs. */
  readonly options: OptionSpecs;
  readonly inputOptions: OptionSpecs;
  /** Whether `<file>.md` is there. */
  readonly page: boolean;
  /** "block": changes activations at modules; "layer": changes weights. Adapters only. */
  readonly scope?: string;
  /** The definition itself. */
  readonly definition: unknown;
}

/**
 * The methods of a package, from the files under packages/`folder`/src/`within`, sorted by name. Each file exports
 * exactly one definition (a value with a `name` equal to the file's name). Throws where that does not hold.
 */
export async function readMethods(folder: string, within = "methods"): Promise<MethodEntry[]> {
  const directory = join(root, "packages", folder, "src", within);
  const files = existsSync(directory)
    ? readdirSync(directory)
        .filter((file) => file.endsWith(".ts") && !file.includes(".test."))
        .map((file) => basename(file, ".ts"))
        .sort()
    : [];
  return Promise.all(files.map((file) => readMethod(directory, file)));
}

async function readMethod(directory: string, file: string): Promise<MethodEntry> {
  const module = (await import(pathToFileURL(join(directory, `${file}.ts`)).href)) as Record<string, unknown>;
  const found = Object.entries(module).filter(([, value]) => (value as { name?: unknown } | null)?.name === file);
  const definition = found[0]?.[1];
  if (found.length !== 1 || !["object", "function"].includes(typeof definition) || definition === null) {
    throw new Error(`${join(directory, file)}.ts: must export one definition named "${file}", found ${found.length}`);
  }
  const { source, summary, options, inputOptions, scope } = definition as Partial<MethodEntry>;
  const page = join(directory, `${file}.md`);
  return {
    file,
    exported: found[0][0],
    name: file,
    source: source ?? "",
    summary: summary ?? (existsSync(page) ? firstSentence(readFileSync(page, "utf8")) : ""),
    options: options ?? {},
    inputOptions: inputOptions ?? {},
    page: existsSync(page),
    scope,
    definition,
  };
}

/** The first sentence below a page's heading: its purpose. */
function firstSentence(page: string): string {
  const paragraph = page
    .split(/\n\s*\n/)
    .map((block) => block.replaceAll("\n", " ").trim())
    .find((block) => block !== "" && !block.startsWith("#") && !block.startsWith("<!--"));
  return (paragraph ?? "").split(/(?<=[.!?])\s+(?=[A-Z])/)[0];
}

/** `arXiv:2306.01708` as a link; anything else as it is. */
export function linkedSource(source: string): string {
  return source.replace(/arXiv:(\d{4}\.\d{4,5})/g, "[arXiv:$1](https://arxiv.org/abs/$1)");
}

/** "density (0.2)" for every option, with its default; required ones say so. */
export function optionList(specs: OptionSpecs, spelled: (name: string) => string = (name) => name): string {
  return Object.entries(specs)
    .map(([name, { default: initial }]) => `\`${spelled(name)}\` (${initial === undefined ? "required" : initial})`)
    .join(", ");
}
