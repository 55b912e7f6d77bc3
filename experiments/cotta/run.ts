// CoTTA, TENT and BN-adapt on a long stream of changing shifts: three seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/cotta/run.ts
import { publish } from "../shared/report.ts";
import { run, whole } from "./experiment.ts";

publish(await run([1, 2, 3], whole), import.meta.url);
