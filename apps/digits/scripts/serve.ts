// pnpm --filter @loomweight/digits serve: builds the page and serves it on http://127.0.0.1:8080/.
import { serveFolder } from "@loomweight/browser";
import { buildPage } from "./build-page.ts";

const { url } = await serveFolder(await buildPage(), Number(process.argv[2] ?? 8080));
console.log(url);
