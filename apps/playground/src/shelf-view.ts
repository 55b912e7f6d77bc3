import { describeCheckpoint } from "@loomweight/checkpoint";
import { openModelAdapter } from "@loomweight/merge";
import { type BundledModel, bundledModels, fetchModel } from "./bundled.ts";
import { chosenFiles, droppedFiles, type PathFile } from "./dropped-files.ts";
import { formatBytes, formatCount, plural } from "./format.ts";
import { adapterFromShelf, isAdapter, type ModelFiles, modelsAmong, openFromShelf, type Shelf } from "./models.ts";
import { byId, element, messageOf, showProblem } from "./page.ts";

/** The first step of the page: models and adapters are dropped, chosen or fetched, listed, and taken away. */
export async function showShelf(onChange: (shelf: Shelf) => void): Promise<void> {
  const shelf = new Map<string, ModelFiles>();
  const list = byId<HTMLUListElement>("shelf");
  const problem = byId("models-problem");
  const drop = byId("drop");
  const pick = byId<HTMLInputElement>("pick");

  const put = async (name: string, files: ModelFiles): Promise<void> => {
    const about = await factsOf(name, files);
    shelf.set(name, files);
    const remove = element("button", { type: "button", textContent: "×", title: `Take ${name} away` });
    remove.setAttribute("aria-label", `Take ${name} away`);
    const item = element("li", {}, element("strong", {}, name), element("small", {}, about), remove);
    remove.onclick = () => {
      shelf.delete(name);
      item.remove();
      onChange(shelf);
    };
    list.append(item);
  };
  const add = async (files: readonly PathFile[]): Promise<void> => {
    showProblem(problem, undefined);
    const problems: string[] = [];
    const found = modelsAmong(files, new Set(shelf.keys()));
    if (found.size === 0 && files.length > 0) problems.push("There are no weights (.safetensors) among these files.");
    for (const [name, contents] of found) {
      await put(name, contents).catch((error: unknown) => problems.push(`${name}: ${messageOf(error)}`));
    }
    showProblem(problem, problems.length === 0 ? undefined : problems.join(" "));
    onChange(shelf);
  };
  const attempt = (work: Promise<readonly PathFile[]>) => {
    work.then(add).catch((error: unknown) => showProblem(problem, messageOf(error)));
  };

  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer !== null) attempt(droppedFiles(event.dataTransfer));
  });
  pick.addEventListener("change", () => {
    attempt(Promise.resolve(chosenFiles(pick)));
    pick.value = ""; // so that the same folder can be chosen again
  });

  const offered = await bundledModels();
  byId("bundled").hidden = offered.length === 0;
  for (const model of offered) byId("bundled").append(bundledButton(model));

  function bundledButton(model: BundledModel): HTMLButtonElement {
    const button = element("button", { type: "button", textContent: model.name, title: model.about });
    button.onclick = async () => {
      if (shelf.has(model.name)) return;
      button.disabled = true;
      showProblem(problem, undefined);
      try {
        await put(model.name, await fetchModel(model));
        onChange(shelf);
      } catch (error) {
        showProblem(problem, messageOf(error));
      } finally {
        button.disabled = false;
      }
    };
    return button;
  }
}

/** What a model or an adapter is, in one line. Throws where it cannot be opened. */
async function factsOf(name: string, files: ModelFiles): Promise<string> {
  const shelf = new Map([[name, files]]);
  if (isAdapter(files)) {
    const adapter = await openModelAdapter(await adapterFromShelf(shelf, name));
    await adapter.close();
    const { layers, method } = adapter;
    const bytes = [...adapter.checkpoint.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    return facts(`adapter: ${method} for ${plural(layers, "layer")}`, formatBytes(bytes));
  }
  const folder = await openFromShelf(shelf, name);
  const { tensorCount, parameterCount, byteLength, dtypes } = describeCheckpoint(folder.checkpoint);
  await folder.close();
  return facts(
    `${formatCount(parameterCount)} parameters`,
    plural(tensorCount, "tensor"),
    formatBytes(byteLength),
    dtypes.map((each) => each.name).join(", "),
  );
}

/** Facts in a row that breaks between them only. */
const facts = (...each: readonly string[]) => each.map((fact) => fact.replaceAll(" ", "\u00a0")).join(" · ");
