export type { BrowserContext, Page } from "playwright-core";
export { chromiumPath, openBrowser } from "./chromium.ts";
export { serveFolder } from "./serve-folder.ts";
