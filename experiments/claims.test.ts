import { existsSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { run as adapterTune } from "./adaptertune/experiment.ts";
import { run as adaptFormer } from "./adaptformer/experiment.ts";
import { run as classp, whole as wholeClassp } from "./classp/experiment.ts";
import { run as dora, short as shortDora } from "./dora/experiment.ts";
import { run as rewardWeighting, short as shortBandit } from "./dynamic-reward-weighting/experiment.ts";
import { run as eva, short as shortEva } from "./eva/experiment.ts";
import { run as hydra, short as shortHydra } from "./hydra/experiment.ts";
import { run as lame } from "./lame/experiment.ts";
import { run as miss, short as shortMiss } from "./miss/experiment.ts";
import { run as mwa } from "./mwa/experiment.ts";
import { run as opcm, short as shortOpcm } from "./opcm/experiment.ts";
import { short as shortVit } from "./shared/adapted-vit.ts";
import { type Results, readResults } from "./shared/report.ts";
import { short as shortSearch, run as tangleNas } from "./tanglenas/experiment.ts";
import { short as shortGates, run as tauGate } from "./taugate/experiment.ts";
import { short as shortTera, run as tera } from "./tera/experiment.ts";
import { run as tlora } from "./tlora/experiment.ts";
import { short as shortTasks, run as vlAdapter } from "./vl-adapter/experiment.ts";

// The direction of each claim in a short run of one seed; the recorded whole runs are in results.json.

function expectClaims({ claims }: Results): void {
  expect(claims.length).toBeGreaterThan(0);
  for (const { claim, holds, found } of claims) expect([claim, found, holds]).toEqual([claim, found, true]);
}

test("AdaptFormer: a wider branch reaches more", async () => {
  expectClaims(await adaptFormer([1], shortVit, ["parallel, r = 1", "parallel, r = 8"]));
}, 120_000);

test("AdapterTune: the first rank gains most", async () => {
  expectClaims(await adapterTune([2], { toyEpochs: 40 }));
}, 120_000);

test("Dynamic reward weighting: one-sided weights recover", async () => {
  expectClaims(await rewardWeighting([1, 2], shortBandit));
}, 120_000);

test("Hydra: better than the parallel branch alone, at the same budget", async () => {
  expectClaims(await hydra([1], shortHydra, [3e-3]));
}, 120_000);

test("DoRA: rank 1 with magnitudes beats rank 4 without; the stable form in bfloat16; the factored norm", async () => {
  expectClaims(await dora([1], shortDora));
}, 120_000);

test("EVA: a lower loss after few steps, and ranks where the variance is", async () => {
  expectClaims(await eva([2], shortEva));
}, 120_000);

test("TangleNAS: a better network than uniform training finds, in the same number of steps", async () => {
  expectClaims(await tangleNas([1], shortSearch, ["DARTS", "SPOS, best of 12"]));
}, 120_000);

test("MiSS and BAT: lower losses than LoRA's in the first epoch", async () => {
  expectClaims(await miss([1], shortMiss, ["LoRA, r = 5 and 8", "miss, r = 16", "bat, r = 16"]));
}, 120_000);

test("TauGate: 512 numbers move a network towards a mode", async () => {
  expectClaims(await tauGate([1], shortGates, ["TauGate, s = 10"]));
}, 120_000);

test("TeRA: 16 numbers have an update of full rank", async () => {
  expectClaims(await tera([1], shortTera));
}, 120_000);

test("TLoRA: a transform of 64 numbers beats a LoRA of 128, and slices have to differ", async () => {
  expectClaims(await tlora([2], 500));
}, 120_000);

test("VL-Adapter: related tasks do better with one adapter", async () => {
  expectClaims(await vlAdapter([1], shortTasks, ["multiple adapters", "single adapter"]));
}, 120_000);

test("LAME: neighbours help on streams in runs", async () => {
  expectClaims(await lame([1, 2, 3], 1000));
}, 120_000);

test("MWA: averages beat the last checkpoint", async () => {
  expectClaims(await mwa([1, 2]));
}, 120_000);

test("OPCM: the projection keeps what was merged before", async () => {
  expectClaims(await opcm([1], shortOpcm));
}, 120_000);

test("CLASSP: keeps more of the first task than SGD", async () => {
  expectClaims(await classp([1], wholeClassp, ["SGD", "CLASSP"]));
}, 120_000);

const recorded = readdirSync(new URL(".", import.meta.url)).filter((name) =>
  existsSync(new URL(`${name}/results.json`, import.meta.url)),
);
test.each(recorded)("the recorded run of %s holds its claims, over three seeds and more", (name) => {
  const results = readResults(name);
  expect(results.seeds.length).toBeGreaterThanOrEqual(3);
  expectClaims(results);
});
