/** A model that comes with the page. */
export interface BundledModel {
  readonly name: string;
  /** What it is, in a few words. */
  readonly about: string;
  /** Names of its files, below `models/NAME/`. */
  readonly files: readonly string[];
}

/** The models that were built into the page; none where it was built without. */
export async function bundledModels(): Promise<readonly BundledModel[]> {
  const response = await fetch("models.json").catch(() => undefined);
  return response?.ok === true ? ((await response.json()) as BundledModel[]) : [];
}

/** The files of one of them. */
export async function fetchModel({ name, files }: BundledModel): Promise<Map<string, Blob>> {
  const contents = await Promise.all(
    files.map(async (file): Promise<[string, Blob]> => {
      const response = await fetch(`models/${name}/${file}`);
      if (!response.ok) throw new Error(`${name}/${file} cannot be fetched (status ${response.status})`);
      return [file, await response.blob()];
    }),
  );
  return new Map(contents);
}
