// AdapterTune: the rank as a budget. Three seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/adaptertune/run.ts
import { whole } from "../shared/adapted-vit.ts";
import { publish } from "../shared/report.ts";
import { run } from "./experiment.ts";

publish(await run([1, 2, 3], { toyEpochs: 40, vit: whole }), import.meta.url);
