/** How a generated region is fenced in a kind of file. */
const fences = {
  markdown: { open: (name: string) => `<!-- ${name}:begin -->`, close: (name: string) => `<!-- ${name}:end -->` },
  typescript: {
    open: (name: string) => `// ${name}:begin, written by \`pnpm gen\``,
    close: (name: string) => `// ${name}:end`,
  },
} as const;

/** The text with the region between the fences of `name` replaced. Throws when the fences are missing. */
export function replaceMarked(
  text: string,
  name: string,
  content: string,
  options: { kind: keyof typeof fences; file: string },
): string {
  const open = fences[options.kind].open(name);
  const close = fences[options.kind].close(name);
  const from = text.indexOf(open);
  const to = text.indexOf(close, from);
  if (from < 0 || to < 0) throw new Error(`${options.file}: needs the lines "${open}" and "${close}"`);
  const space = options.kind === "markdown" ? "\n\n" : "\n";
  return `${text.slice(0, from + open.length)}${space}${content.trim()}${space}${text.slice(to)}`;
}

/** A markdown table whose columns are padded, as the formatter of the repository leaves it. */
export function markdownTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headings, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")));
  const widths = headings.map((_, column) => Math.max(3, ...cells.map((row) => widthOf(row[column] ?? ""))));
  const line = (row: readonly string[]) =>
    `| ${widths.map((width, column) => (row[column] ?? "") + " ".repeat(width - widthOf(row[column] ?? ""))).join(" | ")} |`;
  return [
    line(cells[0]),
    `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`,
    ...cells.slice(1).map(line),
  ].join("\n");
}

/** Columns that a text takes up: a combining mark stands above the letter before it. */
function widthOf(text: string): number {
  return [...text].filter((character) => !/\p{Mn}/u.test(character)).length;
}
