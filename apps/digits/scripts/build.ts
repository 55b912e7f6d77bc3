// pnpm --filter @loomweight/digits build: writes the static page to dist/.
import { buildPage } from "./build-page.ts";

console.log(`built ${await buildPage()}`);
