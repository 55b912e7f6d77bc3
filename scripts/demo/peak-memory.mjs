// Loaded before a step of the demo: leaves the largest resident memory of its process in the file that
// LOOMWEIGHT_PEAK_FILE names.
import { writeFileSync } from "node:fs";

process.on("exit", () => {
  const { LOOMWEIGHT_PEAK_FILE: file } = process.env;
  if (file !== undefined) writeFileSync(file, String(process.resourceUsage().maxRSS * 1024));
});
