import { adapt, type LameOptions, lame, type StreamSetting, streamBatches } from "@loomweight/shift";
import { createRandom, fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

const [classes, width, batchSize] = [10, 32, 64];

const variants: Readonly<Record<string, LameOptions | undefined>> = {
  "the classifier alone": undefined,
  "knn, k = 1": { affinity: "knn", k: 1 },
  "knn, k = 5": { affinity: "knn", k: 5 },
  "rbf, k = 5": { affinity: "rbf", k: 5 },
  linear: { affinity: "linear" },
};

/** Streams: shuffled, sorted by class, and in runs of classes drawn by a Dirichlet distribution. */
const streams = { "in any order": "continual", "in runs": "correlated", sorted: undefined } as const;

/** Ten Gaussian classes; the classifier knows the source, the target is scaled and shifted feature by feature. */
function world(seed: number, count: number) {
  const random = createRandom(seed, "lame");
  const draw = (name: string, size: number, deviation: number) => {
    const values = new Float64Array(size);
    random.child(name).normalsInto(values, { deviation });
    return values;
  };
  const means = draw("means", classes * width, 0.55);
  const [scale, shift] = [draw("scale", width, 0.3).map(Math.exp), draw("shift", width, 0.35)];
  const noise = draw("noise", count * width, 1);
  const labels = Array.from({ length: count }, (_, n) => n % classes);
  const points = noise.map((e, i) => {
    const d = i % width;
    return (means[labels[Math.floor(i / width)] * width + d] + e) * scale[d] + shift[d];
  });
  const classify = async (x: Tensor) => {
    const data = toFloat64(x);
    const rows = x.shape[0];
    const logits = new Float64Array(rows * classes);
    for (let i = 0; i < logits.length; i++) {
      const [n, c] = [Math.floor(i / classes), i % classes];
      for (let d = 0; d < width; d++) logits[i] -= (data[n * width + d] - means[c * width + d]) ** 2 / 2;
    }
    return { logits: fromFloat64(logits, [rows, classes]), features: x };
  };
  return { labels, points, model: { classify } };
}

/** Accuracy of each affinity on streams that are more and more correlated. */
export async function run(seeds: readonly number[], count = 2000): Promise<Results> {
  const found = collector();
  for (const seed of seeds) {
    const { labels, points, model } = world(seed, count);
    const values: Record<string, Record<string, number>> = {};
    for (const [stream, setting] of Object.entries(streams)) {
      const domain = { name: "target", labels };
      const batches =
        setting === undefined
          ? sortedBatches(labels)
          : [...streamBatches(setting as StreamSetting, [domain], { batchSize, seed, delta: 0.1 })].map(({ samples }) =>
              samples.map(({ sample }) => sample),
            );
      for (const [name, options] of Object.entries(variants)) {
        const adapter = options && (await adapt(lame, model, options));
        let right = 0;
        for (const rows of batches) {
          const x = new Float64Array(rows.length * width);
          for (const [n, row] of rows.entries()) x.set(points.subarray(row * width, (row + 1) * width), n * width);
          const batch = fromFloat64(x, [rows.length, width]);
          const scores = toFloat64(
            adapter ? (await adapter.step(batch)).probabilities : (await model.classify(batch)).logits,
          );
          for (const [n, row] of rows.entries()) {
            const own = scores.subarray(n * classes, (n + 1) * classes);
            right += Number(own.indexOf(Math.max(...own)) === labels[row]);
          }
        }
        (values[name] ??= {})[stream] = (100 * right) / count;
      }
    }
    for (const [name, own] of Object.entries(values)) found.add(name, 0, own);
  }
  const rows = found.rows();
  const gain = (stream: string) => meanOf(rows, "knn, k = 5", stream) - meanOf(rows, "the classifier alone", stream);
  const claims = [
    claim("5 neighbours gain at least 10 points on a sorted stream", gain("sorted") >= 10, { gain: gain("sorted") }),
    claim("5 neighbours gain at least 5 points on a stream in runs", gain("in runs") >= 5, { gain: gain("in runs") }),
    claim("5 neighbours lose at most 6 points on a shuffled stream", gain("in any order") >= -6, {
      gain: gain("in any order"),
    }),
  ];
  return { title: "LAME on a shifted target: accuracy on a sorted stream", seeds, rows, claims };
}

function sortedBatches(labels: readonly number[]): number[][] {
  const order = labels.map((_, n) => n).sort((a, b) => labels[a] - labels[b] || a - b);
  return Array.from({ length: Math.ceil(order.length / batchSize) }, (_, i) =>
    order.slice(i * batchSize, (i + 1) * batchSize),
  );
}
