// The claims of hydra on a small shift: three seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/hydra/run.ts
import { publish } from "../shared/report.ts";
import { run, whole } from "./experiment.ts";

publish(await run([1, 2, 3], whole, [3e-3, 1e-2]), import.meta.url);
