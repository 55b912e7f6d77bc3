// Tables and figures of docs/methods from the recorded results of the experiments.
//
//   node --conditions=@loomweight/source --import tsx experiments/shared/document.ts
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { bars, line } from "./chart.ts";
import { type Results, readResults, replaceRegion, table } from "./report.ts";

const docs = (name: string) => fileURLToPath(new URL(`../../docs/methods/${name}`, import.meta.url));

/** Claims as a list, with the numbers by which they hold or do not. */
function claimList({ claims }: Results): string {
  return claims
    .map(({ claim, holds, found }) => `- ${holds ? "holds" : "**does not hold**"}: ${claim} (${found})`)
    .join("\n");
}

const figures: Readonly<Record<string, (results: Results) => string>> = {
  adaptformer: (results) => bars(results.rows, { title: results.title }),
  adaptertune: ({ rows, title }) => {
    const values = (name: string) => rows.find((row) => row.name === name)?.values.accuracy ?? [];
    const middle = (name: string) => values(name).reduce((sum, value) => sum + value, 0) / values(name).length;
    const points = rows.flatMap(({ name }) => {
      const rank = /^rank (\d+)$/.exec(name)?.[1];
      return rank === undefined ? [] : [{ x: Number(rank), values: values(name) }];
    });
    const levels = ["head only", "full fine-tuning"].map((name) => ({ name, value: middle(name) }));
    return line(points, { title, xLabel: "rank", yLabel: "test accuracy, %", levels });
  },
  "dynamic-reward-weighting": (results) =>
    bars(results.rows, { title: results.title, measure: "value", unit: "", from: 0.48 }),
  dora: (results) => bars(results.rows, { title: results.title, measure: "MiB", unit: "MiB" }),
  eva: (results) => bars(results.rows, { title: results.title, measure: "loss at 10", unit: "" }),
  hydra: (results) => bars(results.rows, { title: results.title }),
  tanglenas: ({ rows, title }) =>
    bars(
      rows.map((row) => ({ ...row, trained: 0 })), // all train the same largest network
      { title },
    ),
  tera: (results) => bars(results.rows, { title: results.title }),
  tlora: (results) =>
    bars(results.rows, { title: results.title, measure: "two Kronecker terms, powers of ten", unit: "" }),
  miss: (results) =>
    bars(
      results.rows.filter(({ name }) => name.endsWith("rate 0.003")),
      { title: results.title, measure: "loss of epoch 1", unit: "" },
    ),
  classp: (results) => bars(results.rows, { title: results.title }),
  cotta: (results) => bars(results.rows, { title: results.title, measure: "last cycle" }),
  lame: (results) => bars(results.rows, { title: results.title, measure: "sorted", from: 60 }),
  "lora-lego": (results) => bars(results.rows, { title: results.title, from: 40 }),
  mwa: (results) => bars(results.rows, { title: results.title, from: 35 }),
  opcm: (results) => bars(results.rows, { title: results.title, from: 40 }),
  taugate: (results) => bars(results.rows, { title: results.title, from: 40 }),
  "vl-adapter": (results) => bars(results.rows, { title: results.title }),
};

for (const [name, draw] of Object.entries(figures)) {
  if (!existsSync(fileURLToPath(new URL(`../${name}/results.json`, import.meta.url)))) continue;
  const results = readResults(name);
  writeFileSync(docs(`${name}.svg`), draw(results));
  const page = docs(`${name}.md`);
  const text = readFileSync(page, "utf8");
  writeFileSync(page, replaceRegion(replaceRegion(text, "results", table(results)), "claims", claimList(results)));
  console.log(`${name}: ${results.rows.length} rows, ${results.claims.length} claims`);
}
