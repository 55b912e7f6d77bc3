import { pathToFileURL } from "node:url";

/** Whether a module is the script that was started, and not imported. */
export function isMain(url: string): boolean {
  return process.argv[1] !== undefined && url === pathToFileURL(process.argv[1]).href;
}
