// The claims of TeRA on small problems: five seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/tera/run.ts
import { publish } from "../shared/report.ts";
import { run, whole } from "./experiment.ts";

publish(await run([1, 2, 3, 4, 5], whole), import.meta.url);
