import { tarArchive } from "./archive.ts";
import { formatBytes, plural } from "./format.ts";
import { type MergeResult, runMerge } from "./merge-job.ts";
import { byId, element, messageOf, showProblem } from "./page.ts";
import type { ReadyRecipe } from "./recipe-view.ts";
import { claimStorage, freeBytes } from "./storage.ts";

/** Name of the folder inside the archive, and of the archive. */
const outputName = "merged";

/** The third step: merges, shows how far it is, offers the files. Gives a function to tell whether a recipe is ready. */
export function showMerge(): (ready: ReadyRecipe | undefined) => void {
  const start = byId<HTMLButtonElement>("merge");
  const into = byId<HTMLButtonElement>("merge-into");
  const cancel = byId<HTMLButtonElement>("cancel");
  const state = byId("state");
  const bar = byId<HTMLProgressElement>("progress");
  const problem = byId("merge-problem");
  const result = byId("result");
  let ready: ReadyRecipe | undefined;
  let running: AbortController | undefined;
  let folder: Promise<string> | undefined;
  let urls: string[] = [];

  const allow = () => {
    start.disabled = into.disabled = ready === undefined || running !== undefined;
  };
  const merge = async (
    { recipe, shelf, seed }: ReadyRecipe,
    directory: FileSystemDirectoryHandle | undefined,
  ): Promise<void> => {
    const abort = new AbortController();
    running = abort;
    allow();
    for (const url of urls.splice(0)) URL.revokeObjectURL(url);
    showProblem(problem, undefined);
    result.hidden = true;
    cancel.hidden = bar.hidden = false;
    bar.value = 0;
    state.textContent = "Starting";
    const began = performance.now();
    let shown = 0;
    try {
      if (directory === undefined) folder ??= claimStorage();
      const merged = await runMerge({
        recipe,
        shelf,
        seed,
        place: directory === undefined ? { kind: "page", folder: (await folder) ?? "" } : { kind: "folder", directory },
        signal: abort.signal,
        workers: Math.min(4, Math.max(2, navigator.hardwareConcurrency ?? 2)),
        onProgress(done, total) {
          bar.value = total === 0 ? 1 : done / total;
          const now = performance.now();
          if (now - shown < 100 && done < total) return;
          shown = now;
          const speed = done / Math.max(0.001, (now - began) / 1000);
          const left = done === 0 || done === total ? "" : ` · ${Math.ceil((total - done) / speed)} s left`;
          state.textContent = `${formatBytes(done)} of ${formatBytes(total)} · ${formatBytes(speed)}/s${left}`;
        },
      });
      const seconds = (performance.now() - began) / 1000;
      const done = `${formatBytes(merged.bytes)} in ${seconds.toFixed(1)} s by ${plural(merged.workers, "worker")}`;
      if (directory !== undefined) {
        state.textContent = `Done: ${done}, saved in ${directory.name}`;
        return;
      }
      state.textContent = `Done: ${done}`;
      urls = offer(merged);
      result.hidden = false;
    } catch (error) {
      const cancelled = abort.signal.aborted;
      state.textContent = cancelled ? "Cancelled" : "";
      if (!cancelled) showProblem(problem, await explained(error));
    } finally {
      running = undefined;
      cancel.hidden = bar.hidden = true;
      allow();
    }
  };
  start.addEventListener("click", () => {
    if (ready !== undefined) void merge(ready, undefined);
  });
  // Only where the browser lets a page write into a folder: elsewhere results are downloaded.
  into.hidden = folderPicker() === undefined;
  into.addEventListener("click", async () => {
    const chosen = ready;
    if (chosen === undefined) return;
    try {
      const directory = await folderPicker()?.({ mode: "readwrite" });
      if (directory !== undefined) await merge(chosen, directory);
    } catch (error) {
      // Closing the dialogue is no fault.
      if ((error as { readonly name?: unknown }).name !== "AbortError") showProblem(problem, messageOf(error));
    }
  });
  cancel.addEventListener("click", () => running?.abort(new Error("cancelled")));
  return (next) => {
    ready = next;
    allow();
  };
}

type FolderPicker = (options: { readonly mode: "readwrite" }) => Promise<FileSystemDirectoryHandle>;

/** The browser's dialogue for a folder to write into; undefined where it has none. */
function folderPicker(): FolderPicker | undefined {
  const { showDirectoryPicker } = globalThis as { readonly showDirectoryPicker?: FolderPicker };
  return showDirectoryPicker?.bind(globalThis);
}

/** Shows links to the files, and to all of them in one archive. Gives their URLs, to be revoked. */
function offer({ files }: MergeResult): string[] {
  const links = files.map(({ name, content }) => {
    const link = element("a", {
      href: URL.createObjectURL(content),
      download: name.split("/").at(-1),
      textContent: name,
    });
    return { url: link.href, item: element("li", {}, link, element("small", {}, formatBytes(content.size))) };
  });
  byId("files").replaceChildren(...links.map(({ item }) => item));
  const archive = byId<HTMLAnchorElement>("archive");
  archive.href = URL.createObjectURL(tarArchive(outputName, files));
  archive.download = `${outputName}.tar`;
  return [archive.href, ...links.map(({ url }) => url)];
}

async function explained(error: unknown): Promise<string> {
  const message = messageOf(error);
  if (!/quota|storage|full|space/i.test(message)) return message;
  const free = await freeBytes().catch(() => undefined);
  return free === undefined ? message : `${message} This page may store ${formatBytes(free)} more.`;
}
