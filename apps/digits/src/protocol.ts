/** What the page asks of the worker. */
export type Question =
  | { readonly kind: "train"; readonly epochs: number; readonly learningRate: number; readonly seed: number }
  | { readonly kind: "stop" }
  /** Pixels of one drawing, 28 x 28, from -1 to 1. */
  | { readonly kind: "read"; readonly pixels: Float32Array };

/** What the worker tells. */
export type News =
  | { readonly kind: "ready"; readonly train: number; readonly test: number }
  | {
      readonly kind: "step";
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
      readonly milliseconds: number;
      readonly accuracy?: number;
    }
  | { readonly kind: "done"; readonly stopped: boolean; readonly accuracy: number }
  /** Probability of each digit in a drawing. */
  | { readonly kind: "seen"; readonly probabilities: readonly number[] }
  | { readonly kind: "failed"; readonly message: string };
