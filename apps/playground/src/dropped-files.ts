/** A file with its path below what was dropped or chosen. */
export interface PathFile {
  readonly path: string;
  readonly file: File;
}

/** More files than a model folder has: somebody dropped their home folder. */
const maxFiles = 5000;

/** All files of what was dropped, folders followed. Call it within the drop event: entries are gone afterwards. */
export async function droppedFiles(transfer: DataTransfer): Promise<PathFile[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found: PathFile[] = [];
  const visit = async (entry: FileSystemEntry): Promise<void> => {
    if (found.length >= maxFiles)
      throw new Error(`These are more than ${maxFiles} files: drop the model folders only.`);
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      found.push({ path: entry.fullPath.replace(/^\//, ""), file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // A reader gives a hundred entries at a time, and none at the end.
      const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (part.length === 0) return;
      for (const each of part) await visit(each);
    }
  };
  for (const entry of entries) await visit(entry);
  return found;
}

/** The files of a folder that was chosen in a file input. */
export function chosenFiles(input: HTMLInputElement): PathFile[] {
  return [...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}
