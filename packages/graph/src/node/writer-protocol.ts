import type { WireError } from "@loomweight/tensor";

/** To a writer's thread: which file of its models is to be written and where, then units of it; and that there is no more. */
export type WriterRequest =
  | { readonly kind: "open"; readonly key: string; readonly digest: string; readonly paths: readonly string[] }
  | { readonly kind: "write"; readonly units: readonly number[] }
  | { readonly kind: "end" };

/** From a writer's thread: a unit is in its files (and what `drain` gave), or it has failed and ends. */
export type WriterReply =
  | { readonly kind: "finished"; readonly unit: number; readonly report: unknown }
  | { readonly kind: "failed"; readonly failure: WireError };
