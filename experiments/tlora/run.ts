// The claims of TLoRA on small regressions: three seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/tlora/run.ts
import { publish } from "../shared/report.ts";
import { run } from "./experiment.ts";

publish(await run([1, 2, 3], 500), import.meta.url);
