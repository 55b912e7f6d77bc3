import { createRequire } from "node:module";

/** Version of this package, for cards and journals. */
export function ownVersion(): string {
  const { version } = createRequire(import.meta.url)("@loomweight/adapters/package.json") as { version: string };
  return version;
}
