import type { Change } from "./changes.ts";

/** A drawing and the digit it stands for. */
export interface Example {
  /** 28 x 28, from -1 to 1. */
  readonly pixels: Float32Array;
  readonly label: number;
}

export interface AdaptSettings {
  /** What the model learns: digits of the page, changed, or the visitor's own drawings. */
  readonly task: Change | readonly Example[];
  readonly method: "lora" | "dora" | "miss";
  readonly rank: number;
  readonly targets: "attention" | "all-linear";
  /** Changed digits to learn from. */
  readonly examples: number;
  readonly epochs: number;
  readonly learningRate: number;
  readonly seed: number;
  readonly provider: "wasm" | "webgpu";
}

/** What the page asks of the worker. */
export type AdaptQuestion =
  | ({ readonly kind: "adapt" } & AdaptSettings)
  | { readonly kind: "stop" }
  | { readonly kind: "read"; readonly pixels: Float32Array };

/** Shares of digits that are read right: those of the task, which training did not see, and upright ones. */
export interface Scores {
  readonly task: number;
  readonly upright: number;
}

/** What the worker tells. */
export type AdaptNews =
  | {
      readonly kind: "ready";
      /** Values that the model has. */
      readonly weights: number;
      readonly webgpu: boolean;
      /** Some upright digits to show. */
      readonly samples: Float32Array;
    }
  | { readonly kind: "begun"; readonly trainable: number; readonly before: Scores }
  | {
      readonly kind: "step";
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
      readonly milliseconds: number;
      readonly accuracy?: number;
    }
  | {
      readonly kind: "done";
      readonly stopped: boolean;
      readonly after: Scores;
      /** Name → content: PEFT's two files, and the model with the adapter folded in. */
      readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
    }
  /** Probability of each digit in a drawing, without and with the adapter. */
  | { readonly kind: "seen"; readonly base: readonly number[]; readonly adapted?: readonly number[] }
  | { readonly kind: "failed"; readonly message: string };
