export type { BrowserContext, Page } from "playwright-core";
export { type BrowserOptions, chromiumPath, openBrowser } from "./chromium.ts";
export { pageStyle } from "./page-style.ts";
export { serveFolder } from "./serve-folder.ts";
