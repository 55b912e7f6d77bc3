import { showMerge } from "./merge-view.ts";
import { byId, messageOf, showProblem } from "./page.ts";
import { showRecipe } from "./recipe-view.ts";
import { showShelf } from "./shelf-view.ts";

/** The page: three steps, each telling the next. */
function start(): void {
  const tellMerge = showMerge();
  const tellRecipe = showRecipe(tellMerge);
  showShelf(tellRecipe).catch((error: unknown) => showProblem(byId("models-problem"), messageOf(error)));
}

start();
