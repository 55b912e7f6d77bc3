import { dtypeFacts } from "./dtype.ts";
import { escapeControls } from "./errors.ts";
import { plainElements } from "./numbers.ts";
import { slice } from "./shape.ts";
import { elementCount, type Tensor } from "./tensor.ts";

/** How a tensor is printed. */
export interface FormatOptions {
  /** Entries shown at either end of an axis of a tensor with more than `limit` elements; default 3. */
  readonly edge?: number;
  /** Elements that are shown in full; default 100. */
  readonly limit?: number;
  /** Significant digits; default 6. */
  readonly digits?: number;
}

/** The tensor as text: `float32 [2, 2]` and its elements in brackets, the middle of large ones left out. */
export function format(tensor: Tensor, options: FormatOptions = {}): string {
  const { edge = 3, limit = 100, digits = 6 } = options;
  const head = `${tensor.dtype} [${tensor.shape.join(", ")}]`;
  const { kind } = dtypeFacts[tensor.dtype];
  if (kind === "packed" || kind === "complex" || elementCount(tensor.shape) === 0) return head;
  const whole = elementCount(tensor.shape) <= limit;

  const elementText = (element: number | bigint | string): string => {
    if (typeof element === "string") return JSON.stringify(escapeControls(element));
    if (typeof element === "bigint" || Number.isInteger(element))
      return Object.is(element, -0) ? "-0" : String(element);
    return String(Number(element.toPrecision(digits)));
  };
  const axisText = (part: Tensor, indent: string): string => {
    const rank = part.shape.length;
    if (rank === 0) return elementText(plainElements(part)[0]);
    const [size] = part.shape;
    const shown = whole || size <= 2 * edge ? undefined : edge;
    const rows = Array.from({ length: shown === undefined ? size : 2 * shown }, (_, i) =>
      shown === undefined || i < shown ? i : size - 2 * shown + i,
    );
    const texts = rows.map((row) => {
      const { shape, stride, ...rest } = slice(part, [{ start: row, end: row + 1 }]);
      return axisText({ ...rest, shape: shape.slice(1), stride: stride.slice(1) }, `${indent} `);
    });
    if (shown !== undefined) texts.splice(shown, 0, "…");
    return `[${texts.join(rank === 1 ? ", " : `,\n${indent} `)}]`;
  };
  return tensor.shape.length === 0 ? `${head} ${axisText(tensor, "")}` : `${head}\n${axisText(tensor, "")}`;
}
