import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../packages/packages.ts";
import { drawPackages } from "./draw-packages.ts";
import { markdownTable, replaceMarked } from "./marked.ts";
import { linkedSource, type MethodEntry, optionList, readMethods } from "./methods.ts";
import { readStones } from "./stones.ts";

/** A generated file, or a file with a generated region, as it should be. */
export interface Target {
  /** Relative to the repository's root. */
  readonly path: string;
  readonly content: string;
}

/** Everything that `pnpm gen` writes. */
export async function generatedTargets(): Promise<Target[]> {
  const [merge, adapters, families] = await Promise.all([
    readMethods("merge"),
    readMethods("adapters"),
    readMethods("models", "families"),
  ]);
  return [
    { path: "docs/packages.svg", content: drawPackages(readStones()) },
    marked("docs/architecture.md", { floors: floorTable() }),
    marked("README.md", { packages: packageTable() }),
    marked("packages/merge/README.md", { methods: mergeTable(merge) }),
    ...indexTargets("merge", "methods", merge),
    ...listTargets("merge", merge, {
      path: "packages/merge/src/method-list.ts",
      name: "mergeMethods",
      type: "AnyMergeMethod",
      from: "./define.ts",
      says: "Every merge method by name: what recipes and the command line look methods up in.",
    }),
    marked("packages/adapters/README.md", { methods: adapterTable(adapters) }),
    ...indexTargets("adapters", "methods", adapters),
    marked("packages/models/README.md", { families: familyTable(families) }),
    ...indexTargets("models", "families", families),
  ];
}

function marked(path: string, regions: Readonly<Record<string, string>>): Target {
  let content = readFileSync(join(root, path), "utf8");
  for (const [name, region] of Object.entries(regions)) {
    content = replaceMarked(content, name, region, { kind: "markdown", file: path });
  }
  return { path, content };
}

/** The re-exports of every method in a package's index, between the fences `methods`. */
function indexTargets(folder: string, within: string, entries: readonly MethodEntry[]): Target[] {
  const path = `packages/${folder}/src/index.ts`;
  const lines = entries.map(({ exported, file }) => `export { ${exported} } from "./${within}/${file}.ts";`);
  const content = readFileSync(join(root, path), "utf8");
  return [{ path, content: replaceMarked(content, within, lines.join("\n"), { kind: "typescript", file: path }) }];
}

function listTargets(
  folder: string,
  entries: readonly MethodEntry[],
  list: { path: string; name: string; type: string; from: string; says: string },
): Target[] {
  if (!existsSync(join(root, "packages", folder, "src"))) return [];
  const content = [
    "// Written by `pnpm gen` from the files in methods/.",
    `import type { ${list.type} } from "${list.from}";`,
    ...entries.map(({ exported, file }) => `import { ${exported} } from "./methods/${file}.ts";`),
    "",
    `/** ${list.says} */`,
    `export const ${list.name}: readonly ${list.type}[] = [`,
    ...entries.map(({ exported }) => `  ${exported},`),
    "];",
    "",
  ].join("\n");
  return [{ path: list.path, content }];
}

function floorTable(): string {
  const rows = readStones().map(({ floor, folder, name, holds }) => [
    String(floor),
    folder === "cli" ? "`cli` (`loomweight`)" : `\`${name.replace("@loomweight/", "")}\``,
    holds,
  ]);
  return markdownTable(["floor", "package", "holds"], rows);
}

function packageTable(): string {
  const rows = [...readStones()]
    .reverse()
    .map(({ name, folder, holds }) => [`[\`${name}\`](packages/${folder})`, holds]);
  return markdownTable(["package", "what it holds"], rows);
}

function mergeTable(entries: readonly MethodEntry[]): string {
  const rows = entries.map((entry) => [
    methodLink(entry, "methods"),
    entry.summary,
    optionList({ ...entry.inputOptions, ...entry.options }, snakeCase),
    linkedSource(entry.source),
  ]);
  return markdownTable(["method", "what it does", "options (default)", "source"], rows);
}

function adapterTable(entries: readonly MethodEntry[]): string {
  const rows = entries.map((entry) => [
    methodLink(entry, "methods"),
    entry.summary,
    optionList(entry.options),
    linkedSource(entry.source),
  ]);
  return markdownTable(["method", "what it does", "options (default)", "source"], rows);
}

function familyTable(entries: readonly MethodEntry[]): string {
  const code = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(", ");
  const rows = entries.map((entry) => [
    methodLink(entry, "families"),
    code(entry.modelTypes),
    entry.tasks.join(", "),
    linkedSource(entry.source),
  ]);
  return markdownTable(["family", "`model_type`", "tasks", "source"], rows);
}

function methodLink({ name, file, page }: MethodEntry, within: string): string {
  return page ? `[\`${name}\`](src/${within}/${file}.md)` : `[\`${name}\`](src/${within}/${file}.ts)`;
}

/** `int8Mask` → `int8_mask`, as recipes spell options. */
function snakeCase(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
