/**
 * Times of the dense functions and of the randomized SVD, beside numpy's on the same matrices' sizes in the same run.
 * Run: `pnpm --filter @loomweight/linalg bench` (PYTHON names an interpreter with numpy; without one only ours is timed).
 * Wall time and processor time, best of three: on a loaded machine compare the processor times. numpy's are those of all
 * its threads (OMP_NUM_THREADS).
 */
import { spawnSync } from "node:child_process";
import { createRandom, fromData, normal, type Tensor, transpose } from "@loomweight/tensor";
import {
  cholesky,
  eigh,
  eigvalsh,
  linearAssignment,
  polar,
  qr,
  randomizedSvd,
  singularValues,
  solve,
  svd,
} from "../src/index.ts";
import { graphOrthogonalFactor, graphRandomizedSvd } from "../src/node/index.ts";

interface Time {
  readonly wall: number;
  readonly processor: number;
}

async function time(call: () => unknown, runs = 3): Promise<Time> {
  const all: Time[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    const before = process.cpuUsage();
    await call();
    const used = process.cpuUsage(before);
    all.push({ wall: performance.now() - start, processor: (used.user + used.system) / 1000 });
  }
  return { wall: Math.min(...all.map((t) => t.wall)), processor: Math.min(...all.map((t) => t.processor)) };
}

const python = `
import json, sys, time
import numpy as np
try:
    from scipy.optimize import linear_sum_assignment
except ImportError:
    linear_sum_assignment = None
n, what = int(sys.argv[1]), sys.argv[2]
g = np.random.default_rng(0)
a = g.standard_normal((n, n))
s = a + a.T
p = a @ a.T + np.eye(n)
call = {
    "svd": lambda: np.linalg.svd(a), "singularValues": lambda: np.linalg.svd(a, compute_uv=False),
    "eigh": lambda: np.linalg.eigh(s), "eigvalsh": lambda: np.linalg.eigvalsh(s), "qr": lambda: np.linalg.qr(a),
    "cholesky": lambda: np.linalg.cholesky(p), "solve": lambda: np.linalg.solve(a, a),
    "linearAssignment": (lambda: linear_sum_assignment(a)) if linear_sum_assignment else None,
}[what]
best = None
for _ in range(3):
    w, c = time.perf_counter(), time.process_time()
    call()
    t = ((time.perf_counter() - w) * 1e3, (time.process_time() - c) * 1e3)
    best = t if best is None else (min(best[0], t[0]), min(best[1], t[1]))
print(json.dumps(best))
`;

function numpy(n: number, what: string): Time | undefined {
  const ran = spawnSync(process.env.PYTHON ?? "python3", ["-c", python, String(n), what], { encoding: "utf8" });
  if (ran.status !== 0) return undefined;
  const [wall, processor] = JSON.parse(ran.stdout) as [number, number];
  return { wall, processor };
}

function show(name: string, ours: Time, theirs?: Time): void {
  const figure = (value: number) => `${value.toFixed(0)}`.padStart(6);
  const beside =
    theirs === undefined
      ? ""
      : `   numpy ${figure(theirs.wall)} / ${figure(theirs.processor)} ms   ratio ${(ours.wall / theirs.wall).toFixed(1)} / ${(ours.processor / theirs.processor).toFixed(1)}`;
  console.log(`${name.padEnd(34)} ${figure(ours.wall)} / ${figure(ours.processor)} ms${beside}`);
}

function definite(a: Tensor<"float64">): Tensor<"float64"> {
  const n = a.shape[0];
  const values = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) values[i * n + j] = (a.data[i * n + j] + a.data[j * n + i]) / 2;
  for (let i = 0; i < n; i++) values[i * n + i] += 3 * Math.sqrt(n);
  return fromData("float64", values, [n, n]);
}

console.log("wall / processor time");
for (const n of [128, 512, 1024]) {
  const a = normal([n, n], createRandom(0, "bench"), { dtype: "float64" });
  const s = definite(a);
  const calls: Record<string, () => unknown> = {
    svd: () => svd(a),
    singularValues: () => singularValues(a),
    eigh: () => eigh(s),
    eigvalsh: () => eigvalsh(s),
    qr: () => qr(a),
    cholesky: () => cholesky(s),
    solve: () => solve(a, transpose(a)),
    linearAssignment: () => linearAssignment(a),
  };
  for (const [name, call] of Object.entries(calls)) show(`${name} ${n}`, await time(call), numpy(n, name));
}

const single = normal([1024, 1024], createRandom(0, "bench"));
show("polar 1024, float64 by svd", await time(() => polar(single)));
show("graphOrthogonalFactor 1024, float32", await time(() => graphOrthogonalFactor(single)));

const n = 4096;
const large = normal([n, n], createRandom(0, "large"));
show("randomizedSvd 4096, rank 32", await time(() => randomizedSvd(large, { rank: 32 })));
show("graphRandomizedSvd 4096, rank 32", await time(() => graphRandomizedSvd(large, { rank: 32 })));
