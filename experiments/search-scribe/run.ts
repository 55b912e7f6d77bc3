// Searches the weights of a merge of three fine-tunes and compares with every equal-weight merge, on text that the
// search has not seen. Prints a table; ends with 1 if the search did not find a better merge.
//
//   node --conditions=@loomweight/source --import tsx experiments/search-scribe/run.ts [generations]
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type MergedCandidate, mergeModel, searchModels } from "@loomweight/merge/node";

interface Scored {
  readonly name: string;
  readonly chosenBy: number;
  readonly heldOut: number;
  /** Held-out loss by domain. */
  readonly domains: Readonly<Record<string, number>>;
}

/** What score.mjs exports: plain JavaScript, as a user's script is. */
interface ScoreScript {
  score(candidate: Pick<MergedCandidate, "folder">): Promise<number>;
  lossesByDomain(folder: string, part: "chosen by" | "held out"): Promise<Record<string, number>>;
}

const { score, lossesByDomain } = (await import(new URL("score.mjs", import.meta.url).href)) as ScoreScript;
const recipeFile = fileURLToPath(new URL("recipe.yml", import.meta.url));
const generations = Number(process.argv[2] ?? 15);
const began = performance.now();
const folder = await mkdtemp(join(tmpdir(), "search-scribe-"));
const scribe = "../../fixtures/models/scribe";
const members = [
  `${scribe}/scribe-plays`,
  `${scribe}/scribe-base+${scribe}/scribe-lora-names`,
  `${scribe}/scribe-verse`,
];
/** Fine where the best equal weights lie, so that the search is not compared with a grid that steps over them. */
const equalWeightGrid = [0.05, ...Array.from({ length: 31 }, (_, i) => (10 + i) / 100), 0.5, 0.6, 0.8, 1];
let count = 0;

try {
  const equal: Scored[] = [await measured("linear, equal weights", equalWeights("linear", 1 / 3))];
  for (const weight of equalWeightGrid) {
    equal.push(await measured(`task arithmetic, all ${weight}`, equalWeights("task_arithmetic", weight)));
  }
  const found = await searchModels(recipeFile, score, {
    generations,
    seed: 1,
    onCandidate: ({ generation, index, score: loss }) =>
      console.error(`generation ${generation}, candidate ${index}: ${loss.toFixed(4)}`),
  });
  const searched = await measured(`searched (${generations} generations)`, found.recipe);
  const best = equal.reduce((a, b) => (b.chosenBy < a.chosenBy ? b : a));
  const domains = Object.keys(searched.domains);
  console.log(`| merge | mean, chosen by | mean, held out | ${domains.join(" | ")} |`);
  console.log(`|${" --- |".repeat(3 + domains.length)}`);
  for (const { name, chosenBy, heldOut, domains: losses } of [...equal, searched]) {
    const numbers = [chosenBy, heldOut, ...domains.map((domain) => losses[domain])].map((loss) => loss.toFixed(3));
    console.log(`| ${name} | ${numbers.join(" | ")} |`);
  }
  console.log(`\nbest equal weights: ${best.name}; start of the search ${found.startScore.toFixed(4)}`);
  console.log(JSON.stringify(found.values));
  console.log(`${((performance.now() - began) / 1000).toFixed(0)} s`);
  if (!(searched.chosenBy < best.chosenBy && searched.heldOut < best.heldOut)) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

function equalWeights(method: string, weight: number): object {
  return {
    merge_method: method,
    ...(method === "linear" ? {} : { base_model: `${scribe}/scribe-base` }),
    models: members.map((model) => ({ model, parameters: { weight } })),
    dtype: "bfloat16",
  };
}

async function measured(name: string, recipe: object): Promise<Scored> {
  const out = join(folder, String(count++));
  await mergeModel(recipe, out, { recipeFile });
  const domains = await lossesByDomain(out, "held out");
  const losses = Object.values(domains);
  const heldOut = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  return { name, chosenBy: await score({ folder: async () => out }), heldOut, domains };
}
