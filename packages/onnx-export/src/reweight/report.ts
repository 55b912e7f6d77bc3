/** A weight that was written anew. */
export interface MatchedWeight {
  /** Initializers that hold it, codes first. */
  readonly initializers: readonly string[];
  /** "float32", "4 bits in blocks of 32". */
  readonly form: string;
  /** Tensors of the new model that it comes from. */
  readonly tensors: readonly string[];
  /** What was done to them: "transpose", "3 tensors joined", "plus 1"; "" for a copy. */
  readonly transform: string;
  /** "name": name, scope and shape alone; "name and values", "values": also what the base model holds. */
  readonly how: "name" | "name and values" | "values";
}

/** A float constant that stays as it is. */
export interface KeptConstant {
  readonly initializer: string;
  readonly shape: readonly number[];
  readonly reason: string;
}

/** What became of every float in a graph. Plain data. */
export interface GraphReweightReport {
  readonly matched: readonly MatchedWeight[];
  readonly kept: readonly KeptConstant[];
  /** Tensors of the new model that the graph does not use. */
  readonly unused: readonly string[];
}
