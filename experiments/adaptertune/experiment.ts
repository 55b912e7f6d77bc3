import { adapterRandom, adapterTune, type BlockMethod, elbow } from "@loomweight/adapters";
import type { Dataset } from "@loomweight/data";
import { type Runtime, relu, type Value } from "@loomweight/graph";
import { initLinear, linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { createRandom, fromData } from "@loomweight/tensor";
import { type Scale, turnedTask, withAdapter, withoutAdapter } from "../shared/adapted-vit.ts";
import { fit, type Model, score, type Weights } from "../shared/fit.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

export const ranks = [1, 2, 4, 8, 16, 32];

/** Two moons (crescents) or two circles: points [count, 2] with noise 0.1, labels 0 and 1. */
function points(seed: number, kind: "moons" | "circles", count: number): Dataset {
  const random = createRandom(seed, kind);
  const [angles, noise] = [random.child("angle"), random.child("noise")];
  const image = new Float32Array(2 * count);
  const label = Int32Array.from({ length: count }, (_, i) => i % 2);
  for (let i = 0; i < count; i++) {
    const inner = label[i] === 1;
    const angle = angles.uniform(i) * Math.PI * (kind === "moons" ? 1 : 2);
    const [x, y] = [Math.cos(angle), Math.sin(angle)];
    const at = kind === "circles" ? (inner ? [x / 2, y / 2] : [x, y]) : inner ? [1 - x, 0.5 - y] : [x, y];
    image.set([at[0] + 0.1 * noise.normal(2 * i), at[1] + 0.1 * noise.normal(2 * i + 1)], 2 * i);
  }
  return { image: fromData("float32", image, [count, 2]), label: fromData("int32", label, [count]) };
}

const width = 32;
/** MLP 2-64-32-2 with AdapterTune behind its features [.., 32], rank 0: none. */
function toyModel(rank: number): Model {
  return (weights, image) => {
    const features: Value = linear(weights, "fc2", relu(linear(weights, "fc1", image)));
    const site = { path: "features", index: 0, in: width, out: width, input: features, output: features };
    const params = Object.fromEntries(
      ["down", "downBias", "up", "upBias"].map((name) => [name, weights[`adapter.${name}`]]),
    );
    const adapted = rank === 0 ? features : adapterTune.apply(site, params, { rank, alpha: 1, init: "zero" });
    return linear(weights, "head", adapted);
  };
}

function toyHead(seed: number): Weights {
  return initLinear(createRandom(seed, "toy head"), "head", { inputs: width, outputs: 2 });
}

/** A toy MLP trained on two moons, frozen, whose features are taken to two circles. */
async function toy(runtime: Runtime, seed: number, found: ReturnType<typeof collector>, epochs: number): Promise<void> {
  const random = createRandom(seed, "toy");
  const start = {
    ...initLinear(random, "fc1", { inputs: 2, outputs: 64 }),
    ...initLinear(random, "fc2", { inputs: 64, outputs: width }),
    ...toyHead(seed),
  };
  const { weights: base } = await fit({
    runtime,
    model: toyModel(0),
    weights: start,
    data: points(seed, "moons", 1500),
    epochs,
    rate: 5e-3,
    seed,
  });
  const [data, test] = [points(seed + 1000, "circles", 1500), points(seed + 2000, "circles", 1500)];
  for (const rank of [0, ...ranks]) {
    const site = { path: "features", index: 0, in: width, out: width };
    const made = adapterTune.init(
      site,
      { rank: Math.max(1, rank), alpha: 1, init: "zero" },
      { random: adapterRandom(seed, "features") },
    );
    const adapter =
      rank === 0 ? {} : Object.fromEntries(Object.entries(made).map(([name, tensor]) => [`adapter.${name}`, tensor]));
    const { weights } = await fit({
      runtime,
      model: toyModel(rank),
      weights: { ...base, ...toyHead(seed + 1), ...adapter },
      data,
      trainable: (name) => name.startsWith("adapter.") || name.startsWith("head."),
      epochs,
      rate: 5e-3,
      seed,
    });
    const trained = rank === 0 ? 0 : 2 * width * rank + rank + width;
    found.add(rank === 0 ? "toy: head only" : `toy: rank ${rank}`, trained, {
      accuracy: await score(toyModel(rank), weights, test),
    });
  }
}

/**
 * The rank as a budget: a toy (moons to circles) and a tiny ViT (digits turned by 60°), both frozen, with AdapterTune of
 * growing rank behind every block and a new head.
 */
export async function run(seeds: readonly number[], parts: { toyEpochs: number; vit?: Scale }): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    await toy(runtime, seed, found, parts.toyEpochs);
    if (parts.vit === undefined) continue;
    const task = await turnedTask(runtime, seed, parts.vit);
    found.add("no adaptation", 0, { accuracy: task.frozen });
    found.add("head only", 0, { accuracy: await withoutAdapter(task, (name) => name.startsWith("head."), 1e-2) });
    for (const rank of ranks) {
      const { accuracy, trained } = await withAdapter(task, adapterTune as unknown as BlockMethod, { rank }, "");
      found.add(`rank ${rank}`, trained, { accuracy });
    }
    found.add("full fine-tuning", 27_616, { accuracy: await withoutAdapter(task, () => true, 3e-3) });
  }
  await runtime.close();
  const rows = found.rows();
  return {
    title: "Rank as a budget: test accuracy by rank",
    seeds,
    rows,
    claims: claimsOf(rows, parts.vit !== undefined),
  };
}

function claimsOf(rows: Results["rows"], vit: boolean): Results["claims"] {
  const at = (name: string) => meanOf(rows, name);
  const claims: Results["claims"][number][] = [];
  for (const [what, prefix, margin] of vit
    ? ([
        ["toy", "toy: ", 2],
        ["ViT", "", 5],
      ] as const)
    : ([["toy", "toy: ", 2]] as const)) {
    const sweep = ranks.map((rank) => ({ rank, score: at(`${prefix}rank ${rank}`) }));
    const base = at(`${prefix}head only`);
    const least = Math.min(...sweep.map(({ score }) => score));
    claims.push(
      claim(`${what}: every rank beats the head alone by ${margin} points`, least >= base + margin, {
        "head only": base,
        "worst rank": least,
      }),
    );
    const falls = sweep.slice(1).map(({ score }, i) => sweep[i].score - score);
    claims.push(
      claim(`${what}: accuracy does not fall with the rank by more than a point`, Math.max(...falls) <= 1, {
        "largest fall": Math.max(...falls),
      }),
    );
    if (what !== "toy") continue;
    const gains = sweep.map(({ score }, i) => score - (i === 0 ? base : sweep[i - 1].score));
    claims.push(
      claim(
        "toy: the first rank gains more than all further doublings together",
        gains[0] > sweep[sweep.length - 1].score - sweep[0].score,
        { "first rank": gains[0], "all further": sweep[sweep.length - 1].score - sweep[0].score },
      ),
    );
    claims.push(
      claim("toy: the elbow lies at rank 4 or below", elbow(sweep, base) <= 4, { elbow: elbow(sweep, base) }),
    );
  }
  return claims;
}
