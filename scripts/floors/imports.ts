import { existsSync, readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join } from "node:path";
import typescript from "typescript";

/** TypeScript files under `folder`, sorted; generated output and dependencies are left out. */
export function sourceFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const files: string[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!["node_modules", "dist", "assembly", ".turbo"].includes(entry.name)) files.push(...sourceFiles(path));
    } else if (/\.[mc]?ts$/.test(entry.name) && !entry.name.endsWith(".d.ts")) files.push(path);
  }
  return files.sort();
}

/** Every specifier that a file imports or re-exports, statically, dynamically or for types only. */
export function importsOf(file: string): string[] {
  const found = typescript.preProcessFile(readFileSync(file, "utf8"), true, true).importedFiles;
  return [...new Set(found.map((each) => each.fileName))];
}

/** `@scope/name` or `name` of a bare specifier; undefined for relative paths and `node:` modules. */
export function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith(".") || specifier.startsWith("/") || isBuiltin(specifier)) return undefined;
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

/** Whether a specifier names a module of Node itself, with or without its prefix. */
export function isBuiltin(specifier: string): boolean {
  return specifier.startsWith("node:") || builtinModules.includes(specifier);
}

/** The files of one package that are loaded when `entry` is, in no particular order. */
export function reachableFiles(entry: string): Set<string> {
  const reached = new Set<string>();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (reached.has(file) || !existsSync(file)) continue;
    reached.add(file);
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith(".")) waiting.push(join(dirname(file), specifier));
    }
  }
  return reached;
}
