// AdaptFormer on a small shift: three seeds, results in results.json.
//
//   node --conditions=@loomweight/source --import tsx experiments/adaptformer/run.ts
import { whole } from "../shared/adapted-vit.ts";
import { publish } from "../shared/report.ts";
import { run } from "./experiment.ts";

publish(await run([1, 2, 3], whole), import.meta.url);
