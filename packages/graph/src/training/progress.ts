import type { StepMetrics } from "./train.ts";

/** "step 120/1000  loss 0.1234  lr 0.001  3.2 ms": one line for a terminal. */
export function progressLine(metrics: StepMetrics, steps?: number): string {
  const { step, loss, learningRate, gradientNorm, milliseconds, evaluation = {} } = metrics;
  const parts = [
    `step ${step}${steps === undefined ? "" : `/${steps}`}`,
    `loss ${short(loss)}`,
    ...Object.entries(metrics.metrics).map(([name, value]) => `${name} ${short(value)}`),
    ...(gradientNorm === undefined ? [] : [`norm ${short(gradientNorm)}`]),
    `lr ${short(learningRate)}`,
    ...Object.entries(evaluation).map(([name, value]) => `evaluation ${name} ${short(value)}`),
    `${milliseconds.toFixed(1)} ms`,
  ];
  return parts.join("  ");
}

function short(value: number): string {
  return `${Number(value.toPrecision(4))}`;
}
