import type { AdaptNews, AdaptQuestion, AdaptSettings, Example } from "./adapt-protocol.ts";
import { showBars } from "./bars.ts";
import { area, type Change, changed, changes, side } from "./changes.ts";
import { drawCurves } from "./chart.ts";
import { drawingPad } from "./drawing.ts";

const own = "my drawings";
const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const [status, chart, bars] = [element("status"), element("chart"), element("bars")];
const [start, stop] = [element<HTMLButtonElement>("start"), element<HTMLButtonElement>("stop")];
const task = element<HTMLSelectElement>("task");
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const numberOf = (id: string) => element<HTMLInputElement>(id).valueAsNumber;
const choiceOf = <T extends string>(id: string) => element<HTMLSelectElement>(id).value as T;

const worker = new Worker(new URL("./adapt-worker.js", import.meta.url), { type: "module" });
const ask = (question: AdaptQuestion) => worker.postMessage(question);

let losses: [number, number][] = [];
let accuracies: [number, number][] = [];
let steps = 1;
let samples: Float32Array | undefined;
let drawing: Float32Array | undefined;
let kept: Example[] = [];
let running = false;
let adapted = false;
let due = false;

for (const name of [...Object.keys(changes).map((change) => `digits ${change}`), own]) task.append(new Option(name));

function showChart(): void {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    chart.innerHTML = drawCurves({ losses, accuracies, steps, lowest: 0 }, Math.max(300, chart.clientWidth));
  });
}

/** A digit of 28 x 28 pixels as a small picture. */
function picture(pixels: Float32Array): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  const image = context.createImageData(side, side);
  pixels.forEach((pixel, i) => {
    image.data.set([...Array(3).fill((pixel + 1) * 127.5), 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

const changeOf = (name: string) => name.replace(/^digits /, "") as Change;

/** What the chosen task looks like, and whether it can start. */
function showTask(): void {
  const isOwn = task.value === own;
  const shown = isOwn || samples === undefined ? undefined : changed(samples, changeOf(task.value));
  const pictures = isOwn
    ? kept.map(({ pixels }) => pixels)
    : Array.from({ length: shown === undefined ? 0 : 10 }, (_, i) => shown?.subarray(i * area, (i + 1) * area));
  element("samples").replaceChildren(...pictures.map((pixels) => picture(pixels as Float32Array)));
  if (isOwn && kept.length === 0) element("samples").textContent = "Draw below, and keep what you drew as a digit.";
  element<HTMLInputElement>("examples").disabled = isOwn;
  start.disabled = running || samples === undefined || (isOwn && kept.length === 0);
}

function showKept(): void {
  element("drawings").replaceChildren(
    ...kept.map(({ pixels, label }) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = `${label}`;
      figure.append(picture(pixels), caption);
      return figure;
    }),
  );
  element("forget").hidden = kept.length === 0;
  showTask();
}

const labels = labelButtons();
element("labels").append(...labels);
const pad = drawingPad(element<HTMLCanvasElement>("pad"), (pixels) => {
  drawing = pixels;
  for (const button of labels) button.disabled = pixels === undefined;
  if (pixels === undefined || !adapted) showBars(bars);
  else ask({ kind: "read", pixels });
});

function labelButtons(): HTMLButtonElement[] {
  return Array.from({ length: 10 }, (_, label) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = `${label}`;
    button.setAttribute("aria-label", `Keep the drawing as a ${label}`);
    button.disabled = true;
    button.addEventListener("click", () => {
      if (drawing === undefined) return;
      kept.push({ pixels: drawing, label });
      task.value = own;
      pad.clear();
      showKept();
    });
    return button;
  });
}

/** Links to the files of the adapter; those of an earlier one are let go. */
function showFiles(files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): void {
  const list = element("files");
  for (const link of list.querySelectorAll("a")) URL.revokeObjectURL(link.href);
  list.replaceChildren(
    ...[...files].map(([name, bytes]) => {
      const row = document.createElement("li");
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes]));
      link.download = name;
      link.textContent = name;
      const size = document.createElement("small");
      size.textContent = ` ${Math.ceil(bytes.length / 1000).toLocaleString("en")} kB`;
      row.append(link, size);
      return row;
    }),
  );
  element("result").hidden = false;
}

function setRunning(value: boolean): void {
  running = value;
  stop.disabled = !value;
  showTask();
}

worker.addEventListener("message", ({ data }: MessageEvent<AdaptNews>) => {
  if (data.kind === "ready") {
    samples = data.samples;
    element("provider").querySelector<HTMLOptionElement>("[value=webgpu]")?.toggleAttribute("disabled", !data.webgpu);
    status.textContent = `The model has ${data.weights.toLocaleString("en")} weights; none of them will change.`;
    showTask();
  } else if (data.kind === "begun") {
    adapted = true;
    element("before-task").textContent = percent(data.before.task);
    element("before-upright").textContent = percent(data.before.upright);
    status.dataset.trainable = `${data.trainable}`;
    accuracies.push([0, data.before.task]);
  } else if (data.kind === "step") {
    steps = data.steps;
    losses.push([data.step, data.loss]);
    if (data.accuracy !== undefined) accuracies.push([data.step, data.accuracy]);
    status.textContent = `Step ${data.step} of ${data.steps}, loss ${data.loss.toFixed(3)}, ${data.milliseconds.toFixed(1)} ms a step; ${Number(status.dataset.trainable).toLocaleString("en")} numbers learn.`;
    showChart();
    if (drawing !== undefined && data.accuracy !== undefined) ask({ kind: "read", pixels: drawing });
  } else if (data.kind === "done") {
    const { task: right, upright } = data.after;
    element("after-task").textContent = percent(right);
    element("after-upright").textContent = percent(upright);
    status.textContent = `${data.stopped ? "Stopped" : "Done"}: ${percent(right)} read right, ${element("before-task").textContent} before, with ${Number(status.dataset.trainable).toLocaleString("en")} numbers that learnt.`;
    status.dataset.accuracy = `${right}`;
    showFiles(data.files);
    setRunning(false);
  } else if (data.kind === "seen") {
    if (drawing !== undefined) showBars(bars, data.adapted, data.base);
  } else fail(data.message);
});
worker.addEventListener("error", ({ message }) => fail(`The worker does not start: ${message}`));

function fail(message: string): void {
  status.textContent = message;
  status.className = "bad";
  setRunning(false);
}

element<HTMLFormElement>("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  [losses, accuracies, adapted] = [[], [], false];
  delete status.dataset.accuracy;
  status.className = "";
  status.textContent = "Building the graphs…";
  for (const id of ["before-task", "before-upright", "after-task", "after-upright"]) element(id).textContent = "–";
  const isOwn = task.value === own;
  element("judged").textContent = isOwn ? "My drawings, as they were drawn" : `1,000 other ${task.value}`;
  element("result").hidden = true;
  setRunning(true);
  showBars(bars);
  showChart();
  ask({
    kind: "adapt",
    task: isOwn ? kept : changeOf(task.value),
    method: choiceOf<AdaptSettings["method"]>("method"),
    rank: numberOf("rank"),
    targets: choiceOf<AdaptSettings["targets"]>("targets"),
    examples: numberOf("examples"),
    epochs: numberOf("epochs"),
    learningRate: numberOf("rate"),
    seed: numberOf("seed"),
    provider: choiceOf<AdaptSettings["provider"]>("provider"),
  });
});
task.addEventListener("change", showTask);
stop.addEventListener("click", () => ask({ kind: "stop" }));
element("clear").addEventListener("click", () => pad.clear());
element("forget").addEventListener("click", () => {
  kept = [];
  showKept();
});
addEventListener("resize", showChart);
showBars(bars);
showChart();
showTask();
