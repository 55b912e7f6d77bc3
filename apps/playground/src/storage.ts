const prefix = "loomweight-";

/**
 * Claims a folder of the origin's private file system for this tab, and removes those of tabs that are gone. The claim
 * is a lock, which the browser gives up with the tab.
 */
export async function claimStorage(): Promise<string> {
  const folder = `${prefix}${crypto.randomUUID()}`;
  const { locks } = navigator;
  if (locks === undefined) return folder;
  void locks.request(folder, () => new Promise(() => {}));
  const { held = [], pending = [] } = await locks.query();
  const alive = new Set([...held, ...pending].map(({ name }) => name));
  alive.add(folder);
  try {
    const root = await navigator.storage.getDirectory();
    for await (const [name] of root as unknown as AsyncIterable<[string, unknown]>) {
      if (name.startsWith(prefix) && !alive.has(name)) await root.removeEntry(name, { recursive: true });
    }
  } catch {
    // No such file system here: the store keeps results in memory.
  }
  return folder;
}

/** Bytes that this page may still store; undefined where the browser does not say. */
export async function freeBytes(): Promise<number | undefined> {
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
  return quota === undefined ? undefined : quota - (usage ?? 0);
}
