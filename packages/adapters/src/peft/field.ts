import type { ConfigField, Json } from "./format.ts";

/** A field without effect on the weights. */
export const note = (initial: Json, more: Partial<ConfigField> = {}): ConfigField => ({
  use: "note",
  default: initial,
  ...more,
});

/** A field that says which modules are adapted. */
export const target = (initial: Json): ConfigField => ({ use: "target", default: initial });

/** A field that the method reads. */
export const option = (initial: Json, more: Partial<ConfigField> = {}): ConfigField => ({
  use: "option",
  default: initial,
  ...more,
});

/** A field of which only the default is built; anything else is refused as `what`. */
export const unsupported = (initial: Json, what: string): ConfigField => ({
  use: "unsupported",
  default: initial,
  what,
});

/** A probability that only training uses: Python writes it as a float. */
export const dropout: ConfigField = { use: "note", default: 0, float: true };
