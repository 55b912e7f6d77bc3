import { showBars } from "./bars.ts";
import { drawCurves } from "./chart.ts";
import { drawingPad } from "./drawing.ts";
import type { News, Question } from "./protocol.ts";

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const [status, chart, start, stop] = [
  element("status"),
  element("chart"),
  element<HTMLButtonElement>("start"),
  element<HTMLButtonElement>("stop"),
];
const bars = element("bars");

const worker = new Worker(new URL("./train-worker.js", import.meta.url), { type: "module" });
const ask = (question: Question) => worker.postMessage(question);

let losses: [number, number][] = [];
let accuracies: [number, number][] = [];
let steps = 1;
let drawing: Float32Array | undefined;
let trained = false;
let due = false;

function showChart(): void {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    chart.innerHTML = drawCurves({ losses, accuracies, steps }, Math.max(300, chart.clientWidth));
  });
}

const pad = drawingPad(element<HTMLCanvasElement>("pad"), (pixels) => {
  drawing = pixels;
  if (pixels === undefined || !trained) showBars(bars);
  else ask({ kind: "read", pixels });
});

worker.addEventListener("message", ({ data }: MessageEvent<News>) => {
  if (data.kind === "ready") {
    status.textContent = `${data.train.toLocaleString("en")} digits to train on, ${data.test.toLocaleString("en")} to test.`;
    start.disabled = false;
  } else if (data.kind === "step") {
    steps = data.steps;
    losses.push([data.step, data.loss]);
    if (data.accuracy !== undefined) accuracies.push([data.step, data.accuracy]);
    trained = true;
    const share = accuracies[accuracies.length - 1]?.[1];
    status.textContent = `Step ${data.step} of ${data.steps}, loss ${data.loss.toFixed(3)}, ${data.milliseconds.toFixed(1)} ms a step${share === undefined ? "" : `, ${percent(share)} of the test digits right`}.`;
    showChart();
    if (drawing !== undefined && data.accuracy !== undefined) ask({ kind: "read", pixels: drawing });
  } else if (data.kind === "done") {
    status.textContent = `${data.stopped ? "Stopped" : "Done"}: ${percent(data.accuracy)} of the test digits right. Draw one.`;
    status.dataset.accuracy = `${data.accuracy}`;
    start.disabled = false;
    stop.disabled = true;
  } else if (data.kind === "seen") showBars(bars, data.probabilities);
  else {
    status.textContent = data.message;
    status.className = "bad";
  }
});
worker.addEventListener("error", ({ message }) => {
  status.textContent = `The worker does not start: ${message}`;
  status.className = "bad";
});

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const numberOf = (id: string) => element<HTMLInputElement>(id).valueAsNumber;

element<HTMLFormElement>("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  [losses, accuracies, trained] = [[], [], false];
  delete status.dataset.accuracy;
  status.className = "";
  [start.disabled, stop.disabled] = [true, false];
  showBars(bars);
  showChart();
  ask({ kind: "train", epochs: numberOf("epochs"), learningRate: numberOf("rate"), seed: numberOf("seed") });
});
stop.addEventListener("click", () => ask({ kind: "stop" }));
element("clear").addEventListener("click", () => pad.clear());
addEventListener("resize", showChart);
showBars(bars);
showChart();
