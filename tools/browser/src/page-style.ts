import { fileURLToPath } from "node:url";

/** The style sheet that the pages share; a page's build copies it beside the page's own. */
export const pageStyle = fileURLToPath(new URL("page.css", import.meta.url));
