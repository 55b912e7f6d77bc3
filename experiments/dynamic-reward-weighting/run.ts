// The claims of dynamic reward weighting on a bandit: fifteen seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/dynamic-reward-weighting/run.ts
import { publish } from "../shared/report.ts";
import { run, whole } from "./experiment.ts";

const seeds = Array.from({ length: 15 }, (_, i) => i + 1);
publish(await run(seeds, whole), import.meta.url);
