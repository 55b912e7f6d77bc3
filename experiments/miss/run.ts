// The claims of Bone, BAT and MiSS on a small shift: three seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/miss/run.ts
import { publish } from "../shared/report.ts";
import { run, whole } from "./experiment.ts";

publish(await run([1, 2, 3], whole), import.meta.url);
