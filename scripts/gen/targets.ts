import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../packages/packages.ts";
import { adapterExample } from "./adapter-examples.ts";
import { adapterTable } from "./adapter-table.ts";
import { drawPackages } from "./draw-packages.ts";
import { markdownTable, replaceMarked } from "./marked.ts";
import { linkedSource, type MethodEntry, optionList, readMethods } from "./methods.ts";
import { readStones } from "./stones.ts";
import { systemsTable } from "./systems.ts";

/** A generated file, or a file with a generated region, as it should be. */
export interface Target {
  /** Relative to the repository's root. */
  readonly path: string;
  readonly content: string;
}

/** Everything that `pnpm gen` writes, each to be made on its own: one that cannot be made does not stop the others. */
export async function generatedTargets(): Promise<(() => Target)[]> {
  const [merge, adapters, optim, shift, rl, nas, samplers, families] = await Promise.all([
    readMethods("merge"),
    readMethods("adapters"),
    readMethods("optim"),
    readMethods("shift"),
    readMethods("rl"),
    readMethods("nas"),
    readMethods("nas", "samplers"),
    readMethods("models", "families"),
  ]);
  return [
    () => ({ path: "docs/packages.svg", content: drawPackages(readStones()) }),
    () => marked("docs/methods/README.md", { systems: systemsTable() }),
    () => marked("docs/architecture.md", { floors: floorTable() }),
    () => marked("README.md", { packages: packageTable() }),
    () => marked("packages/merge/README.md", { methods: mergeTable(merge) }),
    () => indexTarget("merge", { methods: merge }),
    () =>
      listTarget(merge, {
        path: "packages/merge/src/method-list.ts",
        from: "methods",
        name: "mergeMethods",
        type: "AnyMergeMethod",
        typeFrom: "./define.ts",
        says: "Every merge method by name: what recipes and the command line look methods up in.",
      }),
    () => marked("packages/adapters/README.md", { methods: adapterTable(adapters) }),
    ...adapters.map(
      (entry) => () => marked(`packages/adapters/src/methods/${entry.file}.md`, { example: adapterExample(entry) }),
    ),
    () => indexTarget("adapters", { methods: adapters }),
    () =>
      listTarget(
        adapters.filter(({ scope }) => scope !== "block"),
        {
          path: "packages/adapters/src/catalogue.ts",
          from: "methods",
          name: "adapterMethods",
          type: "AdapterMethod",
          typeFrom: "./define.ts",
          says: "Every adapter method of this package, by name.",
        },
      ),
    () =>
      listTarget(
        adapters.filter(({ scope }) => scope === "block"),
        {
          path: "packages/adapters/src/block-catalogue.ts",
          from: "methods",
          name: "blockMethods",
          type: "BlockMethod",
          typeFrom: "./define-block.ts",
          says: "Every method of this package that changes activations at modules, by name.",
        },
      ),
    () => marked("packages/optim/README.md", { methods: methodTable(optim) }),
    () => indexTarget("optim", { methods: optim }),
    () =>
      listTarget(optim, {
        path: "packages/optim/src/optimizer-list.ts",
        from: "methods",
        name: "optimizers",
        type: "AnyOptimizerMethod",
        typeFrom: "./define.ts",
        says: "Every optimizer of this package, by name.",
      }),
    () => marked("packages/shift/README.md", { methods: methodTable(shift) }),
    () => indexTarget("shift", { methods: shift }),
    () => marked("packages/rl/README.md", { methods: methodTable(rl) }),
    () => indexTarget("rl", { methods: rl }),
    () =>
      listTarget(rl, {
        path: "packages/rl/src/weighting-list.ts",
        from: "methods",
        name: "rewardWeightings",
        type: "AnyRewardWeighting",
        typeFrom: "./define.ts",
        says: "Every weighting of rewards, by name.",
      }),
    () => marked("packages/nas/README.md", { methods: methodTable(nas), samplers: methodTable(samplers, "samplers") }),
    () => indexTarget("nas", { methods: nas, samplers }),
    () =>
      listTarget(families, {
        path: "packages/models/src/families.ts",
        from: "families",
        name: "families",
        type: "AnyFamily",
        typeFrom: "./family.ts",
        says: "Every family that is built.",
      }),
  ];
}

function marked(path: string, regions: Readonly<Record<string, string>>): Target {
  let content = readFileSync(join(root, path), "utf8");
  for (const [name, region] of Object.entries(regions)) {
    content = replaceMarked(content, name, region, { kind: "markdown", file: path });
  }
  return { path, content };
}

/** The re-exports of every method in a package's index, between fences named after the folders they are in. */
function indexTarget(folder: string, within: Readonly<Record<string, readonly MethodEntry[]>>): Target {
  const path = `packages/${folder}/src/index.ts`;
  let content = readFileSync(join(root, path), "utf8");
  for (const [region, entries] of Object.entries(within)) {
    const lines = entries.map(({ exported, file }) => `export { ${exported} } from "./${region}/${file}.ts";`);
    content = replaceMarked(content, region, lines.join("\n"), { kind: "typescript", file: path });
  }
  return { path, content };
}

/** A file that lists every definition of a folder: the only place where all of them are imported. */
function listTarget(
  entries: readonly MethodEntry[],
  list: { path: string; from: string; name: string; type: string; typeFrom: string; says: string },
): Target {
  const imports = [
    { path: list.typeFrom, line: `import type { ${list.type} } from "${list.typeFrom}";` },
    ...entries.map(({ exported, file }) => {
      const path = `./${list.from}/${file}.ts`;
      return { path, line: `import { ${exported} } from "${path}";` };
    }),
  ].sort((a, b) => (a.path.replace(".ts", "") < b.path.replace(".ts", "") ? -1 : 1));
  const names = entries.map(({ exported }) => exported);
  const start = `export const ${list.name}: readonly ${list.type}[] = [`;
  const oneLine = `${start}${names.join(", ")}];`;
  const content = [
    `// Written by \`pnpm gen\` from the files in ${list.from}/.`,
    ...imports.map(({ line }) => line),
    "",
    `/** ${list.says} */`,
    oneLine.length <= 120 ? oneLine : `${start}\n${names.map((name) => `  ${name},\n`).join("")}];`,
    "",
  ].join("\n");
  return { path: list.path, content };
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
    methodLink(entry),
    entry.summary,
    optionList({ ...entry.inputOptions, ...entry.options }, snakeCase),
    linkedSource(entry.source),
  ]);
  return markdownTable(["method", "what it does", "options (default)", "source"], rows);
}

function methodTable(entries: readonly MethodEntry[], within = "methods"): string {
  const rows = entries.map((entry) => [
    methodLink(entry, within),
    entry.summary,
    optionList(entry.options),
    linkedSource(entry.source),
  ]);
  return markdownTable([within.replace(/s$/, ""), "what it does", "options (default)", "source"], rows);
}

function methodLink({ name, file, page }: MethodEntry, within = "methods"): string {
  return `[\`${name}\`](src/${within}/${file}.${page ? "md" : "ts"})`;
}

/** `int8Mask` → `int8_mask`, as recipes spell options. */
function snakeCase(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
