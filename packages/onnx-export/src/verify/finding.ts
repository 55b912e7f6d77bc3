/** Something that a check of an export found. Plain data. */
export interface Finding {
  /** "error": the export does not work, or not as its files promise; "warning": it works with something missing. */
  readonly level: "error" | "warning";
  readonly code: string;
  readonly message: string;
}

export function fault(code: string, message: string): Finding {
  return { level: "error", code, message };
}

export function caution(code: string, message: string): Finding {
  return { level: "warning", code, message };
}
