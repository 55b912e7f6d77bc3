/** Side of the drawing in pixels of the digits. */
const side = 28;
/** Screen pixels that one of them takes. */
const scale = 10;

/**
 * A pad to draw a digit on with pen, finger or mouse. `changed` gets 28 x 28 pixels from -1 (paper) to 1 (ink), centred by
 * their weight as the digits of the training are; undefined when the pad is empty.
 */
export function drawingPad(
  canvas: HTMLCanvasElement,
  changed: (pixels: Float32Array | undefined) => void,
): { clear(): void } {
  canvas.width = side * scale;
  canvas.height = side * scale;
  const context = canvas.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
  context.lineWidth = 2.2 * scale;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.strokeStyle = "white";
  const clear = () => {
    context.fillStyle = "black";
    context.fillRect(0, 0, canvas.width, canvas.height);
    changed(undefined);
  };
  let last: readonly [number, number] | undefined;
  const at = (event: PointerEvent) => {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) * canvas.width) / box.width,
      ((event.clientY - box.top) * canvas.height) / box.height,
    ] as const;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last === undefined) return;
    const next = at(event);
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...next);
    context.stroke();
    last = next;
    changed(pixelsOf(context));
  });
  for (const kind of ["pointerup", "pointercancel"] as const) canvas.addEventListener(kind, () => (last = undefined));
  clear();
  return { clear };
}

/** The drawing as the digits of the training are: 20 pixels high or wide, its centre of weight in the middle. */
function pixelsOf(context: CanvasRenderingContext2D): Float32Array | undefined {
  const { width } = context.canvas;
  const { data } = context.getImageData(0, 0, width, width);
  let [left, right, top, bottom] = [width, -1, width, -1];
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < width; x++) {
      if (data[4 * (y * width + x)] < 32) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  if (right < 0) return undefined;
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const target = small.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
  target.imageSmoothingQuality = "high";
  const [w, h] = [right - left + 1, bottom - top + 1];
  const shrink = 20 / Math.max(w, h);
  const place = (shiftX: number, shiftY: number) => {
    target.fillStyle = "black";
    target.fillRect(0, 0, side, side);
    target.drawImage(
      context.canvas,
      left,
      top,
      w,
      h,
      (side - w * shrink) / 2 + shiftX,
      (side - h * shrink) / 2 + shiftY,
      w * shrink,
      h * shrink,
    );
    return target.getImageData(0, 0, side, side).data;
  };
  const centred = place(0, 0);
  let [weight, sumX, sumY] = [0, 0, 0];
  for (let i = 0; i < side * side; i++) {
    const ink = centred[4 * i];
    weight += ink;
    sumX += ink * (i % side);
    sumY += ink * Math.floor(i / side);
  }
  const moved = place((side - 1) / 2 - sumX / weight, (side - 1) / 2 - sumY / weight);
  return Float32Array.from({ length: side * side }, (_, i) => moved[4 * i] / 127.5 - 1);
}
