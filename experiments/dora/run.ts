// The claims of DoRA and of its factored form: five seeds, results in results.json. Linux (memory is read from /proc).
//
//   node --conditions=@loomweight/source --import tsx experiments/dora/run.ts
import { publish } from "../shared/report.ts";
import { run, whole } from "./experiment.ts";

publish(await run([1, 2, 3, 4, 5], whole), import.meta.url);
