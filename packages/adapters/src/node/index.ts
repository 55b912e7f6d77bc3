export { openAdapterFolder } from "./open.ts";
