import type { WireTensor } from "../runtime/protocol.ts";

export interface WireMetadata {
  readonly name: string;
  readonly type: string;
  /** "" and undefined stand for sizes without a name. */
  readonly shape: readonly (number | string | undefined)[];
}

export type Request = { readonly id: number } & (
  | { readonly kind: "open"; readonly model: string | Uint8Array; readonly options: Record<string, unknown> }
  | {
      readonly kind: "run";
      readonly feeds: Record<string, WireTensor>;
      readonly outputs?: readonly string[];
      /** Output → input that is fed with it in the next run. */
      readonly keep?: Readonly<Record<string, string>>;
    }
  | { readonly kind: "close" }
);

export type Response = { readonly id: number } & (
  | { readonly kind: "opened"; readonly inputs: readonly WireMetadata[]; readonly outputs: readonly WireMetadata[] }
  | { readonly kind: "ran"; readonly outputs: Record<string, WireTensor> }
  | { readonly kind: "closed" }
  | { readonly kind: "failed"; readonly reason: "missing" | "error"; readonly message: string }
);
