import { deviation, mean, type Row } from "./report.ts";

// Figures of the experiments as SVG text: one look, readable on light and dark pages, no library.

const font = 'font-family="system-ui, sans-serif"';
const ink = "#5b6472";
const colours = ["#3b6fd4", "#d9822b", "#2f9e6e", "#b0479a"];

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const text = (x: number, y: number, content: string, more = "") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${font} font-size="13" fill="${ink}" ${more}>${escaped(content)}</text>`;

function page(width: number, height: number, title: string, body: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">`,
    `<title>${escaped(title)}</title>`,
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

/** Steps of 1, 2 or 5 times a power of ten that cover low to high. */
function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((each) => each * power >= rough) ?? 10) * power;
  const first = Math.ceil(low / step - 1e-9) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, i) =>
    Number((first + i * step).toPrecision(12)),
  );
}

/** Horizontal bars: the mean of a measure, a dot for every seed, the trained values beside the name. */
export function bars(
  rows: readonly Row[],
  options: { title: string; measure?: string; unit?: string; from?: number },
): string {
  const { title, measure = "accuracy", unit = "%" } = options;
  const shown = rows.filter(({ values }) => values[measure] !== undefined);
  const label = ({ name, trained }: Row) => `${name}${trained > 0 ? ` · ${trained.toLocaleString("en")}` : ""}`;
  const [right, top, line] = [60, 46, 30];
  const left = Math.max(270, ...shown.map((row) => 20 + 6.9 * label(row).length));
  const width = 490 + left;
  const height = top + shown.length * line + 34;
  const highest = Math.max(...shown.flatMap(({ values }) => values[measure]));
  const low = options.from ?? 0;
  const digits = highest < 10 ? 3 : 1;
  const high = highest + (highest - low) * 0.04;
  const x = (value: number) => left + ((value - low) / (high - low)) * (width - left - right);
  const body = [text(16, 24, title, 'font-weight="600"')];
  for (const tick of ticks(low, high)) {
    body.push(
      `<line x1="${x(tick).toFixed(1)}" x2="${x(tick).toFixed(1)}" y1="${top - 8}" y2="${height - 28}" stroke="${ink}" stroke-opacity="0.18"/>`,
    );
    body.push(text(x(tick), height - 10, `${tick}`, 'text-anchor="middle"'));
  }
  shown.forEach((row, i) => {
    const { values } = row;
    const y = top + i * line;
    const middle = mean(values[measure]);
    body.push(text(left - 10, y + 14, label(row), 'text-anchor="end"'));
    body.push(
      `<rect x="${left}" y="${y}" width="${Math.max(0, x(middle) - left).toFixed(1)}" height="20" rx="2" fill="${colours[0]}" fill-opacity="0.75"/>`,
    );
    for (const value of values[measure])
      body.push(`<circle cx="${x(value).toFixed(1)}" cy="${y + 10}" r="3" fill="${colours[1]}"/>`);
    body.push(text(x(Math.max(middle, ...values[measure])) + 8, y + 14, `${middle.toFixed(digits)} ${unit}`));
  });
  return page(width, height, title, body);
}

/** A line of means over a scale that doubles (ranks), with the deviation over seeds, beside level lines of baselines. */
export function line(
  points: readonly { readonly x: number; readonly values: readonly number[] }[],
  options: { title: string; xLabel: string; yLabel: string; levels?: readonly { name: string; value: number }[] },
): string {
  const { title, xLabel, yLabel, levels = [] } = options;
  const [width, height, left, right, top, bottom] = [760, 400, 64, 150, 50, 50];
  const all = [...points.flatMap(({ values }) => values), ...levels.map(({ value }) => value)];
  const room = (Math.max(...all) - Math.min(...all)) * 0.08;
  const [low, high] = [Math.min(...all) - room, Math.max(...all) + room];
  const logs = points.map(({ x }) => Math.log2(x));
  const x = (value: number) =>
    left + ((Math.log2(value) - Math.min(...logs)) / (Math.max(...logs) - Math.min(...logs))) * (width - left - right);
  const y = (value: number) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
  const body = [text(16, 24, title, 'font-weight="600"'), text(left - 48, top - 10, yLabel)];
  for (const tick of ticks(low, high)) {
    body.push(
      `<line x1="${left}" x2="${width - right}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}" stroke="${ink}" stroke-opacity="0.18"/>`,
    );
    body.push(text(left - 10, y(tick) + 4, `${tick}`, 'text-anchor="end"'));
  }
  for (const { name, value } of levels) {
    body.push(
      `<line x1="${left}" x2="${width - right}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}" stroke="${colours[2]}" stroke-dasharray="6 5" stroke-width="1.5"/>`,
    );
    body.push(text(width - right + 8, y(value) + 4, name));
  }
  const middles = points.map((point) => ({
    x: point.x,
    y: mean(point.values),
    spread: deviation(point.values),
    values: point.values,
  }));
  body.push(
    `<polyline points="${middles.map((each) => `${x(each.x).toFixed(1)},${y(each.y).toFixed(1)}`).join(" ")}" fill="none" stroke="${colours[0]}" stroke-width="2.5"/>`,
  );
  for (const each of middles) {
    for (const value of each.values)
      body.push(`<circle cx="${x(each.x).toFixed(1)}" cy="${y(value).toFixed(1)}" r="3" fill="${colours[1]}"/>`);
    body.push(`<circle cx="${x(each.x).toFixed(1)}" cy="${y(each.y).toFixed(1)}" r="4.5" fill="${colours[0]}"/>`);
    body.push(text(x(each.x), height - bottom + 20, `${each.x}`, 'text-anchor="middle"'));
  }
  body.push(text((left + width - right) / 2, height - 8, xLabel, 'text-anchor="middle"'));
  return page(width, height, title, body);
}
