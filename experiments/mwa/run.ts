// Metrics-weighted averaging of checkpoints of a LoRA run: six seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/mwa/run.ts
import { publish } from "../shared/report.ts";
import { run } from "./experiment.ts";

publish(await run([1, 2, 3, 4, 5, 6]), import.meta.url);
