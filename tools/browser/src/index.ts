export { chromiumPath, openBrowser } from "./chromium.ts";
export { serveFolder } from "./serve-folder.ts";
