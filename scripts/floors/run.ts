import { fileURLToPath } from "node:url";
import { checkFloors } from "./check-floors.ts";
import { floors } from "./table.ts";

const faults = checkFloors(fileURLToPath(new URL("../..", import.meta.url)), floors);
for (const fault of faults) console.error(fault);
console.log(
  faults.length === 0 ? `floors: ${floors.length} packages stand as they should` : `floors: ${faults.length} faults`,
);
process.exitCode = faults.length === 0 ? 0 : 1;
