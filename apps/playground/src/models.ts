import { type FileSet, fileSetFromMap, type ModelFolder, openModelFromFiles } from "@loomweight/checkpoint";
import { type FolderMerge, type FolderMergeOptions, planFolders } from "@loomweight/merge";
import { LoomweightError, unknownName } from "@loomweight/tensor";

/** The files of a model by their names inside its folder. A Blob crosses to a worker without being read. */
export type ModelFiles = ReadonlyMap<string, Blob>;

/** The models and adapters on the page, by the names that recipes use. */
export type Shelf = ReadonlyMap<string, ModelFiles>;

const isWeights = (name: string) =>
  /(^|\/)(model|pytorch_model)[\w.-]*\.(safetensors|safetensors\.index\.json|bin)$/.test(name);

/** Whether files are those of a PEFT adapter, and not a model that one lies beside. */
export function isAdapter(files: ModelFiles): boolean {
  const names = [...files.keys()].map((name) => name.split("/").at(-1) ?? name);
  return names.includes("adapter_config.json") && !names.some(isWeights);
}

/**
 * Opens the model that a recipe calls by a path: the one of that name, else the one whose name is the path's last part,
 * so that recipes written for folders or the hub work unchanged. Throws `MODEL_NOT_FOUND`, and as `openModelFromFiles`.
 */
export async function openFromShelf(shelf: Shelf, path: string): Promise<ModelFolder> {
  const [name, files] = find(shelf, path, false);
  return { ...(await openModelFromFiles(files)), location: name };
}

/** The files of the adapter that a recipe calls by a path, found as models are. Throws `MODEL_NOT_FOUND`. */
export async function adapterFromShelf(shelf: Shelf, path: string): Promise<FileSet> {
  const [name, files] = find(shelf, path, true);
  return fileSetFromMap(files, name);
}

function find(shelf: Shelf, path: string, adapter: boolean): readonly [string, ModelFiles] {
  const last = path.replace(/\/+$/, "").split("/").at(-1) ?? path;
  const name = shelf.has(path) ? path : last;
  const files = shelf.get(name);
  if (files === undefined) {
    const known = [...shelf].filter(([, each]) => isAdapter(each) === adapter).map(([each]) => each);
    const kind = adapter ? "adapter of this page" : "model of this page";
    throw unknownName({ kind, name: last, known, code: "MODEL_NOT_FOUND" });
  }
  if (isAdapter(files) === adapter) return [name, files];
  throw new LoomweightError({
    code: "MODEL_NOT_FOUND",
    problem: adapter ? `"${name}" is a model, not an adapter` : `"${name}" is an adapter, not a model`,
    fix: "An adapter is named after the model that it is folded into: model+adapter.",
  });
}

/** The merge of a recipe over the models of the page, planned from their headers alone. */
export function planFromShelf(recipe: string, shelf: Shelf, seed: number): Promise<FolderMerge> {
  const options: FolderMergeOptions = { file: "recipe", seed, openAdapter: (path) => adapterFromShelf(shelf, path) };
  return planFolders(recipe, (path) => openFromShelf(shelf, path), options);
}

/**
 * Sorts files with paths (`scribe/config.json`) into models and adapters: one for every folder that holds weights. `fallback` names
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
