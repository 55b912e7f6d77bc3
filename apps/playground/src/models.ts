import { type ModelFolder, openModelFromFiles } from "@loomweight/checkpoint";
import { unknownName } from "@loomweight/tensor";

/** The files of a model by their names inside its folder. A Blob crosses to a worker without being read. */
export type ModelFiles = ReadonlyMap<string, Blob>;

/** The models on the page, by the names that recipes use. */
export type Shelf = ReadonlyMap<string, ModelFiles>;

/**
 * Opens the model that a recipe calls by a path: the one of that name, else the one whose name is the path's last part,
 * so that recipes written for folders or the hub work unchanged. Throws `MODEL_NOT_FOUND`, and as `openModelFromFiles`.
 */
export async function openFromShelf(shelf: Shelf, path: string): Promise<ModelFolder> {
  const last = path.replace(/\/+$/, "").split("/").at(-1) ?? path;
  const name = shelf.has(path) ? path : last;
  const files = shelf.get(name);
  if (files === undefined) {
    throw unknownName({ kind: "model of this page", name: last, known: shelf.keys(), code: "MODEL_NOT_FOUND" });
  }
  return { ...(await openModelFromFiles(files)), location: name };
}

/**
 * Sorts files with paths (`scribe/config.json`) into models: one for every folder that holds weights. `fallback` names
 * files without a folder. A name that is taken already gets a number.
 */
export function modelsAmong(
  files: readonly { readonly path: string; readonly file: Blob }[],
  taken: ReadonlySet<string>,
  fallback = "model",
): Map<string, Map<string, Blob>> {
  const folders = new Map<string, Map<string, Blob>>();
  for (const { path } of files) {
    if (/\.(safetensors|safetensors\.index\.json|bin|gguf|pt|pth)$/i.test(path)) folders.set(folderOf(path), new Map());
  }
  for (const { path, file } of files) {
    const home = [...folders.keys()]
      .filter((folder) => folder === "" || path.startsWith(`${folder}/`))
      .sort((a, b) => b.length - a.length)[0];
    if (home !== undefined) folders.get(home)?.set(home === "" ? path : path.slice(home.length + 1), file);
  }
  const models = new Map<string, Map<string, Blob>>();
  for (const [folder, contents] of folders) {
    const wanted = folder.split("/").at(-1) || fallback;
    let name = wanted;
    for (let count = 2; taken.has(name) || models.has(name); count++) name = `${wanted}-${count}`;
    models.set(name, contents);
  }
  return models;
}

const folderOf = (path: string) => path.split("/").slice(0, -1).join("/");
