import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { markdownTable } from "../../scripts/gen/marked.ts";

/** Numbers of one kind over seeds. */
export interface Row {
  readonly name: string;
  /** Trained values. */
  readonly trained: number;
  /** One value a seed, by measure ("accuracy", "loss"). */
  readonly values: Readonly<Record<string, readonly number[]>>;
}

/** What an experiment leaves behind: `results.json` beside its script. */
export interface Results {
  readonly title: string;
  readonly seeds: readonly number[];
  readonly rows: readonly Row[];
  readonly claims: readonly { readonly claim: string; readonly holds: boolean; readonly found: string }[];
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

export function deviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / Math.max(1, values.length - 1));
}

/** Mean of a row's measure over the seeds. Throws where there is no such row. */
export function meanOf(rows: readonly Row[], name: string, measure = "accuracy"): number {
  const found = rows.find((row) => row.name === name)?.values[measure];
  if (found === undefined) throw new Error(`no ${measure} of "${name}"`);
  return mean(found);
}

/** Rows collected seed by seed. */
export function collector(): {
  add(name: string, trained: number, values: Record<string, number>): void;
  rows(): Row[];
} {
  const rows = new Map<string, { trained: number; values: Record<string, number[]> }>();
  return {
    add(name, trained, values) {
      const row = rows.get(name) ?? { trained, values: {} };
      for (const [measure, value] of Object.entries(values))
        (row.values[measure] ??= []).push(Math.round(value * 1e4) / 1e4);
      rows.set(name, row);
    },
    rows: () => [...rows].map(([name, row]) => ({ name, ...row })),
  };
}

/** A claim that has to hold: `found` says by which numbers it did or did not. */
export function claim(
  text: string,
  holds: boolean,
  numbers: Readonly<Record<string, number>>,
): Results["claims"][number] {
  const found = Object.entries(numbers)
    .map(([name, value]) => `${name} ${Number(value.toFixed(3))}`)
    .join(", ");
  return { claim: text, holds, found };
}

/** Writes `results.json`, prints table and claims, and ends with 1 where a claim does not hold. */
export function publish(results: Results, from: string): void {
  const file = fileURLToPath(new URL("results.json", from));
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  console.log(table(results));
  for (const { claim: text, holds, found } of results.claims)
    console.log(`${holds ? "holds" : "FAILS"}: ${text} (${found})`);
  if (results.claims.some(({ holds }) => !holds)) process.exitCode = 1;
}

export function readResults(folder: string): Results {
  return JSON.parse(readFileSync(new URL(`../${folder}/results.json`, import.meta.url), "utf8")) as Results;
}

/** Markdown: one line a row, each measure as mean ± deviation over the seeds. */
export function table({ rows }: Results): string {
  const measures = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))];
  const lines = rows.map(({ name, trained, values }) => {
    const cells = measures.map((measure) => {
      const found = values[measure];
      if (found === undefined) return "";
      const digits = Math.abs(mean(found)) < 10 ? 3 : 1;
      return found.length === 1
        ? found[0].toFixed(digits)
        : `${mean(found).toFixed(digits)} ± ${deviation(found).toFixed(digits)}`;
    });
    return [name, trained.toLocaleString("en"), ...cells];
  });
  return markdownTable(["", "trained values", ...measures], lines);
}

/** Replaces what stands between `<!-- name:begin -->` and `<!-- name:end -->` of a page. */
export function replaceRegion(page: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`the page has no region "${name}"`);
  return `${page.slice(0, from + begin.length)}\n\n${content}\n\n${page.slice(to)}`;
}

export function writeText(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
