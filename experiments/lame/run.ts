// LAME's affinities on streams of growing correlation: ten seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/lame/run.ts
import { publish } from "../shared/report.ts";
import { run } from "./experiment.ts";

publish(await run([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), import.meta.url);
