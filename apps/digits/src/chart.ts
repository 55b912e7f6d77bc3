/** Points of a curve: step and value. */
export type Points = readonly (readonly [step: number, value: number])[];

const margin = { left: 40, right: 52, top: 14, bottom: 30 } as const;
const height = 260;

/**
 * A picture of a training as SVG markup, `width` pixels wide: loss on a logarithmic axis to the left, accuracy in percent
 * to the right.
 */
export function drawCurves(
  {
    losses,
    accuracies,
    steps,
    lowest = 0.75,
  }: {
    losses: Points;
    accuracies: Points;
    steps: number;
    /** Accuracy at the foot of its axis; default 0.75. */
    lowest?: number;
  },
  width: number,
): string {
  const size = { width, height, ...margin };
  const inner = { width: width - size.left - size.right, height: height - size.top - size.bottom };
  const x = (step: number) => size.left + (inner.width * step) / Math.max(1, steps);
  const [least, most] = [Math.log10(0.02), Math.log10(4)];
  const yLoss = (loss: number) => {
    const clamped = Math.min(most, Math.max(least, Math.log10(loss)));
    return size.top + (inner.height * (most - clamped)) / (most - least);
  };
  const yShare = (share: number) => size.top + inner.height * Math.min(1, (1 - share) / (1 - lowest));
  const path = (points: Points, y: (value: number) => number) =>
    points.map(([step, value], i) => `${i === 0 ? "M" : "L"}${round(x(step))} ${round(y(value))}`).join("");
  const lossTicks = [0.03, 0.1, 0.3, 1, 3].map((loss) => {
    const y = round(yLoss(loss));
    return `<line class="grid" x1="${size.left}" x2="${size.width - size.right}" y1="${y}" y2="${y}"/><text class="loss" x="${size.left - 8}" y="${y + 4}" text-anchor="end">${loss}</text>`;
  });
  const shareTicks = (lowest < 0.5 ? [0, 0.25, 0.5, 0.75, 1] : [0.8, 0.9, 1]).map(
    (share) =>
      `<text class="accuracy" x="${size.width - size.right + 8}" y="${round(yShare(share)) + 4}">${100 * share} %</text>`,
  );
  const stepTicks = [0, 0.25, 0.5, 0.75, 1].map(
    (part) =>
      `<text class="axis" x="${round(x(part * steps))}" y="${size.height - 8}" text-anchor="middle">${Math.round(part * steps)}</text>`,
  );
  const last = accuracies[accuracies.length - 1];
  const mark =
    last === undefined
      ? ""
      : `<circle class="accuracy" cx="${round(x(last[0]))}" cy="${round(yShare(last[1]))}" r="4"/>`;
  return [
    `<svg viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="Loss and accuracy by step">`,
    ...lossTicks,
    ...shareTicks,
    ...stepTicks,
    `<path class="loss faint" d="${path(losses, yLoss)}"/>`,
    `<path class="loss" d="${path(smoothed(losses), yLoss)}"/>`,
    `<path class="accuracy" d="${path(accuracies, yShare)}"/>`,
    mark,
    "</svg>",
  ].join("");
}

/** A running mean over about 8 steps, so that the trend can be seen behind the batches' noise. */
function smoothed(points: Points): Points {
  let mean = points[0]?.[1] ?? 0;
  return points.map(([step, value]) => {
    mean += (value - mean) / Math.min(8, step);
    return [step, mean] as const;
  });
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
