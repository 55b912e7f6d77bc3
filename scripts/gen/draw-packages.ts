import type { Floor } from "../floors/table.ts";
import { buildWall, type Stone } from "./wall.ts";

const layout = { width: 960, margin: 24, brick: 76, gap: 6 } as const;

/** Light and dark fill and ink of each group. */
const colours: Readonly<Record<Floor["group"], { fill: string; ink: string; darkFill: string; darkInk: string }>> = {
  weights: { fill: "#e4ecf7", ink: "#1d3a5f", darkFill: "#1b2c42", darkInk: "#c9ddf6" },
  graphs: { fill: "#e3f2ea", ink: "#1c4a33", darkFill: "#18352a", darkInk: "#c3ead5" },
  methods: { fill: "#f9ecdc", ink: "#6a4010", darkFill: "#3d2a14", darkInk: "#f3d9b5" },
  tools: { fill: "#f1e6f4", ink: "#532a60", darkFill: "#34203c", darkInk: "#e5cbee" },
};

/**
 * The picture of the packages: a wall in which each uses only what lies below it. An SVG that follows the reader's light
 * or dark theme and names everything as text.
 */
export function drawPackages(stones: readonly Stone[]): string {
  const bricks = buildWall(stones);
  const rows = Math.max(...bricks.map(({ row }) => row)) + 1;
  const inner = layout.width - 2 * layout.margin;
  const height = rows * (layout.brick + layout.gap) - layout.gap + 2 * layout.margin;
  const parts = bricks.map(({ stone, row, from, to }) => {
    const x = layout.margin + inner * from + (from === 0 ? 0 : layout.gap / 2);
    const right = layout.margin + inner * to - (to === 1 ? 0 : layout.gap / 2);
    const y = layout.margin + (rows - 1 - row) * (layout.brick + layout.gap);
    return drawBrick(stone, { x, y, width: right - x });
  });
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${layout.width} ${height}" width="${layout.width}" height="${height}" role="img" aria-labelledby="title">`,
    `<title id="title">The packages of Loomweight: each uses only what lies below it</title>`,
    `<style>\n${styleSheet()}\n</style>`,
    ...parts,
    "</svg>",
  ].join("\n")}\n`;
}

function drawBrick(stone: Stone, { x, y, width }: { x: number; y: number; width: number }): string {
  const middle = number(x + width / 2);
  const lines = wrap(stone.holds.replaceAll("`", ""), Math.floor((width - 28) / 6.9));
  const block = 24 + lines.length * 17;
  const top = y + (layout.brick - block) / 2;
  return [
    `<g class="${stone.group}">`,
    `<rect x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${layout.brick}" rx="8"/>`,
    `<text class="name" x="${middle}" y="${number(top + 17)}">${escapeXml(stone.name)}</text>`,
    ...lines.map(
      (line, i) => `<text class="holds" x="${middle}" y="${number(top + 38 + i * 17)}">${escapeXml(line)}</text>`,
    ),
    "</g>",
  ].join("\n");
}

function styleSheet(): string {
  const rules = (dark: boolean) =>
    Object.entries(colours)
      .map(
        ([group, { fill, ink, darkFill, darkInk }]) =>
          `.${group} rect { fill: ${dark ? darkFill : fill} } .${group} text { fill: ${dark ? darkInk : ink} }`,
      )
      .join("\n");
  return [
    "text { text-anchor: middle; font-family: ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif }",
    ".name { font-size: 16px; font-weight: 650; letter-spacing: -0.01em }",
    ".holds { font-size: 13px; opacity: 0.82 }",
    rules(false),
    `@media (prefers-color-scheme: dark) {\n${rules(true)}\n}`,
  ].join("\n");
}

/** Breaks at spaces into lines of at most `limit` characters, as even as a greedy break makes them. */
export function wrap(text: string, limit: number): string[] {
  const count = Math.ceil(text.length / limit);
  const target = Math.min(limit, Math.ceil(text.length / count) + 6);
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines[lines.length - 1];
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= target) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function number(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
