/** Things made once by key; beyond `limit` the one unused for longest is closed. */
export interface ProgramCache<T> {
  get(key: string, make: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export function createProgramCache<T>(limit: number, close: (each: T) => Promise<void>): ProgramCache<T> {
  const kept = new Map<string, Promise<T>>();
  const drop = async (each: Promise<T>) => {
    const made = await each.catch(() => undefined);
    if (made !== undefined) await close(made);
  };
  return {
    async get(key, make) {
      const found = kept.get(key) ?? make();
      kept.delete(key);
      kept.set(key, found); // the latest is last
      for (const [oldest, each] of kept) {
        if (kept.size <= limit) break;
        kept.delete(oldest);
        await drop(each);
      }
      return found;
    },
    async close() {
      for (const each of kept.values()) await drop(each);
      kept.clear();
    },
  };
}
