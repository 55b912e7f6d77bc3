import { type FolderMerge, mergeMethods } from "@loomweight/merge";
import { formatBytes, plural } from "./format.ts";
import { isAdapter, planFromShelf, type Shelf } from "./models.ts";
import { byId, element, messageOf } from "./page.ts";
import { failureOf } from "./protocol.ts";
import { beginningRecipe } from "./recipe-text.ts";

/** A recipe that can be merged as it stands. */
export interface ReadyRecipe {
  readonly recipe: string;
  readonly shelf: Shelf;
  readonly seed: number;
}

/** Methods offered first; the others follow by name. */
const usual = ["linear", "slerp", "task-arithmetic", "ties", "dare-ties", "model-stock"];
const typingPause = 250;

/** The second step: a recipe is written, and planned at every pause. Gives a function to tell of changed models. */
export function showRecipe(onReady: (ready: ReadyRecipe | undefined) => void): (shelf: Shelf) => void {
  const text = byId<HTMLTextAreaElement>("recipe");
  const method = byId<HTMLSelectElement>("method");
  const seed = byId<HTMLInputElement>("seed");
  let shelf: Shelf = new Map();
  /** What was last written by the page: only that is replaced by the page. */
  let written = "";
  let attempt = 0;
  let timer: number | undefined;

  const offered = mergeMethods.filter(({ needs }) => needs.models.min <= 2);
  const rank = (name: string) => (usual.includes(name) ? usual.indexOf(name) : usual.length);
  for (const { name } of [...offered].sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1))) {
    method.append(element("option", { value: name, textContent: name.replaceAll("-", " ") }));
  }

  const check = async (): Promise<void> => {
    const mine = ++attempt;
    const recipe = text.value;
    onReady(undefined);
    if (recipe.trim() === "" || shelf.size === 0) return showPlan(undefined);
    try {
      const drawn = seedOf(seed);
      const merge = await planFromShelf(recipe, shelf, drawn);
      if (mine !== attempt) return;
      showPlan(merge);
      onReady({ recipe, shelf: new Map(shelf), seed: drawn });
    } catch (error) {
      if (mine === attempt) showFault(error, text);
    }
  };
  const write = () => {
    const chosen = mergeMethods.find(({ name }) => name === method.value);
    const members = membersOf(shelf);
    written = chosen === undefined || members.length < 2 ? "" : beginningRecipe(chosen, members);
    text.value = written;
    text.rows = Math.max(10, written.split("\n").length + 1);
    void check();
  };
  method.addEventListener("change", () => {
    const own = text.value.trim() !== "" && text.value !== written;
    if (!own || confirm("Replace the recipe that you wrote?")) write();
  });
  text.addEventListener("input", () => {
    clearTimeout(timer);
    onReady(undefined);
    timer = setTimeout(() => void check(), typingPause) as unknown as number;
  });
  seed.addEventListener("input", () => void check());
  text.addEventListener("keydown", (event) => {
    // Tab indents at the beginning of a line and leaves the field elsewhere, so that the keyboard is not caught.
    const before = text.value.slice(0, text.selectionStart);
    if (event.key !== "Tab" || event.shiftKey || !/(^|\n) *$/.test(before) || before === "") return;
    event.preventDefault();
    text.setRangeText("  ", text.selectionStart, text.selectionEnd, "end");
    text.dispatchEvent(new Event("input"));
  });
  return (changed) => {
    shelf = changed;
    if (text.value.trim() === "" || text.value === written) write();
    else void check();
  };
}

/** The models of the page, and its adapters folded into the model that is called base, else into the first. */
function membersOf(shelf: Shelf): string[] {
  const models = [...shelf].filter(([, files]) => !isAdapter(files)).map(([name]) => name);
  const base = models.find((name) => /\bbase\b/i.test(name)) ?? models[0];
  const adapters = [...shelf].filter(([, files]) => isAdapter(files)).map(([name]) => name);
  return base === undefined ? [] : [...models, ...adapters.map((name) => `${base}+${name}`)];
}

const maxSeed = 2 ** 32 - 1;

function seedOf({ value }: HTMLInputElement): number {
  const seed = value.trim() === "" ? 0 : Number(value);
  if (Number.isSafeInteger(seed) && seed >= 0 && seed <= maxSeed) return seed;
  throw new Error(`The seed is a whole number from 0 to ${maxSeed}, not "${value}".`);
}

function showPlan(merge: FolderMerge | undefined): void {
  const place = byId("plan");
  place.className = merge === undefined ? "plan" : "plan good";
  if (merge === undefined) {
    place.replaceChildren();
    return;
  }
  const { plan, layout } = merge;
  const bytes = layout.files.reduce((sum, { size }) => sum + size, 0);
  const dtypes = [...new Set(plan.tensors.map(({ dtype }) => dtype))].join(", ");
  const copied = plan.tensors.filter(({ copy }) => copy !== undefined).length;
  const summary = [
    `${plan.method.replaceAll("-", " ")} of ${merge.models.join(", ")}`,
    `${plural(plan.tensors.length, "tensor")} in ${dtypes}${copied === 0 ? "" : ` (${copied} copied)`}`,
    `${formatBytes(bytes)} in ${plural(layout.files.length, "file")}`,
  ].join(" · ");
  const warnings = plan.warnings.map((warning) => element("li", {}, warning));
  place.replaceChildren(summary, ...(warnings.length === 0 ? [] : [element("ul", {}, ...warnings)]));
}

function showFault(error: unknown, text: HTMLTextAreaElement): void {
  const place = byId("plan");
  const { line, column = 1 } = failureOf(error);
  place.className = "plan bad";
  place.replaceChildren(messageOf(error));
  if (line === undefined) return;
  const jump = element("button", { type: "button", textContent: `go to line ${line}` });
  jump.onclick = () => {
    const start = text.value
      .split("\n")
      .slice(0, line - 1)
      .reduce((sum, each) => sum + each.length + 1, 0);
    text.focus();
    text.setSelectionRange(start + column - 1, start + (text.value.split("\n")[line - 1] ?? "").length);
  };
  place.append(" ", jump);
}
