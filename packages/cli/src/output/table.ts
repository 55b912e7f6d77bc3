import { escapeControls } from "@loomweight/tensor/errors";

/** A column of a table: its heading and how its cells stand. */
export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/**
 * Rows as aligned text, a heading line above and two spaces between columns. Control characters in cells are
 * escaped; columns whose heading and cells are all empty are left out.
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  emphasise: (heading: string) => string = (heading) => heading,
): string[] {
  const cells = rows.map((row) => columns.map((_, index) => oneLine(row[index] ?? "")));
  const shown = columns
    .map((column, index) => ({ ...column, index, width: 0 }))
    .filter(({ title, index }) => title !== "" || cells.some((row) => row[index] !== ""))
    .map((column) => ({
      ...column,
      width: Math.max(displayWidth(column.title), ...widths(cells, column.index)),
    }));
  const line = (texts: readonly string[]) =>
    shown
      .map(({ width, align, index }, place) => {
        const padding = " ".repeat(Math.max(0, width - displayWidth(texts[index])));
        if (align === "right") return padding + texts[index];
        return place === shown.length - 1 ? texts[index] : texts[index] + padding;
      })
      .join("  ")
      .trimEnd();
  const heading = shown.some(({ title }) => title !== "") ? [emphasise(line(columns.map(({ title }) => title)))] : [];
  return [...heading, ...cells.map(line)];
}

/** Lines of "name  value" with the values in one column. */
export function formatPairs(pairs: readonly (readonly [name: string, value: string | undefined])[]): string[] {
  const given = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  return formatTable([{ title: "" }, { title: "" }], given);
}

/** Text from a file on one line: control characters, tabs and line ends escaped. */
export function oneLine(text: string): string {
  return escapeControls(text).replace(/[\t\n]/g, (character) => (character === "\n" ? "\\n" : "\\t"));
}

function widths(cells: readonly (readonly string[])[], index: number): number[] {
  // One maximum per table, not a spread over a hundred thousand tensors.
  let widest = 0;
  for (const row of cells) widest = Math.max(widest, displayWidth(row[index]));
  return [widest];
}

/** Columns of a terminal that `text` takes: two for East Asian wide characters, none for combining marks. */
export function displayWidth(text: string): number {
  if (/^[\u0020-\u007e]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) {
    if (/\p{Mark}/u.test(character)) continue;
    width +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u.test(
        character,
      )
        ? 2
        : 1;
  }
  return width;
}
